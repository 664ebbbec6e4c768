//! What somebody probably meant who names a run that does not exist.
use super::checkpoint::entries;
use crate::config::nearest;
use crate::process::quoted;
use std::path::Path;

/// A question after the nearest name in the same folder, to stand behind an error; empty where none is near.
pub fn did_you_mean(path: &Path) -> String {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let there = entries(folder).unwrap_or_default();
    let names: Vec<&str> = there
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    let wanted = path.file_name().and_then(|name| name.to_str());
    let near = wanted.and_then(|wanted| nearest(wanted, names.iter().copied()));
    near.map_or(String::new(), |near| {
        format!("; did you mean {}?", quoted(&path.with_file_name(near)))
    })
}
