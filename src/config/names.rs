//! Names that are not those of a setting: which one was probably meant.
use super::declared::{self, PREFIX};
use anyhow::{Result, bail};

/// Variables that begin as those of settings do and are read elsewhere.
const OTHERS: [&str; 3] = [
    crate::kernels::simd::VARIABLE,
    crate::kernels::precision::VARIABLE,
    crate::backend::gpu::cooperative::VARIABLE,
];

/// What to say to somebody who named something unknown.
pub fn advice<'k>(unknown: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    match nearest(unknown, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the settings are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// Refuses a variable that is probably a mistyped one of a setting.
pub fn check_environment() -> Result<()> {
    let args = declared::all();
    let ids = args.iter().map(|arg| arg.get_id().as_str());
    let mut known: Vec<String> = ids.map(declared::variable).collect();
    known.extend(OTHERS.map(str::to_string));
    let own = |name: &'_ str| name.strip_prefix(PREFIX).map(str::to_string);
    let own_names: Vec<String> = known.iter().filter_map(|name| own(name)).collect();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().and_then(own) else {
            continue;
        };
        // Scripts may have variables of their own, which are near to none.
        let near = nearest(&name, own_names.iter().map(String::as_str));
        if let Some(near) = near.filter(|near| *near != name) {
            bail!("{PREFIX}{name} is no setting; did you mean {PREFIX}{near}?");
        }
    }
    Ok(())
}

/// The known name that is nearest to an unknown one, if any is near.
fn nearest<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let alike = |name: &str| strsim::damerau_levenshtein(unknown, name);
    let near = known.min_by_key(|name| alike(name))?;
    (alike(near) <= 1 + unknown.len().min(near.len()) / 8).then_some(near)
}
