//! Settings as the flags that say them.
use super::declared;
use super::settings::TrainConfig;
use crate::process::quoted;
use anyhow::{Result, bail};
use clap::Arg;
use std::path::Path;

/// Where a run is, which does not decide what it computes.
const PLACE: [&str; 2] = ["name", "out"];

/// The text that the flag of a setting takes for a value of a file; `None` where no setting has such a value.
pub(super) fn text_of(arg: &Arg, value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Boolean(value) => Some((*value != declared::negates(arg)).to_string()),
        toml::Value::Integer(_) | toml::Value::Float(_) => Some(value.to_string()),
        toml::Value::Array(values) if declared::is_list(arg) => {
            let text = |value: &toml::Value| match value.as_str() {
                Some(text) => text.to_string(),
                None => value.to_string(),
            };
            let values: Vec<String> = values.iter().map(text).collect();
            Some(values.join(","))
        }
        _ => None,
    }
}

impl TrainConfig {
    /// The flags of all settings that differ from their defaults, as a shell takes them; not those of the folder, and
    /// none for tilings, which only files have.
    ///
    /// # Errors
    /// Never for settings that were resolved.
    pub fn flags(&self) -> Result<Vec<String>> {
        let (table, usual) = (self.table(), TrainConfig::default().table());
        let mut flags = Vec::new();
        for arg in declared::all() {
            let key = arg.get_id().as_str();
            let Some(value) = table
                .get(key)
                .filter(|value| Some(*value) != usual.get(key))
            else {
                continue;
            };
            if PLACE.contains(&key) {
                continue;
            }
            let Some(text) = text_of(&arg, value) else {
                bail!("{key} has the value {value}, which no flag can say");
            };
            flags.push(match (declared::is_switch(&arg), text.as_str()) {
                (true, "true") => declared::long(key),
                (true, _) => declared::flag(key, &text),
                (false, _) => format!("{} {}", declared::long(key), quoted(Path::new(&text))),
            });
        }
        Ok(flags)
    }
}
