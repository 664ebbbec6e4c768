//! The images that the settings name, shared by the commands that take some.
use crate::config::{Resolved, Source};
use crate::data::{self, Dataset};
use crate::process;
use anyhow::{Context, Result};

/// Loads the images and tells what people should know about them.
///
/// # Errors
/// When there is no data, or a file is not what its name says; what named the data is said, unless a flag did.
pub fn load(settings: &Resolved) -> Result<Dataset> {
    let choice = settings.config.data.data.as_deref();
    let loaded = match settings.sources.get("data") {
        None | Some(Source::Flag(_)) => data::load(choice),
        Some(source) => {
            let named = || format!("{source} names the data {}", choice.unwrap_or_default());
            data::load(choice).with_context(named)
        }
    }?;
    for note in &loaded.info.notes {
        process::say(note);
    }
    Ok(loaded)
}
