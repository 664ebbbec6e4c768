//! Where runs are, and what somebody probably meant who names one that does not exist.
use crate::config::nearest;
use crate::process::quoted;
use std::fs;
use std::path::Path;

/// Where the folders of runs are, unless they are told another place.
pub const RUNS: &str = "runs";

/// A question after the run of this name, or after the nearest name in the same folder, to stand behind an error; empty
/// where neither is there.
pub fn did_you_mean(path: &Path) -> String {
    let run = Path::new(RUNS).join(path);
    if run.is_dir() {
        return question(&run);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let there = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<_> = there
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let wanted = path.file_name().and_then(|name| name.to_str());
    let near = wanted.and_then(|wanted| nearest(wanted, names.iter().map(String::as_str)));
    near.map_or(String::new(), |near| question(&path.with_file_name(near)))
}

fn question(path: &Path) -> String {
    format!("; did you mean {}?", quoted(path))
}
