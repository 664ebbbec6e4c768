//! The settings of a command: defaults, then files, then the environment, then flags.
mod again;
mod checks;
pub mod counts;
mod declared;
mod layer;
mod levels;
mod micro_batch;
mod names;
pub mod range;
mod reference;
mod settings;
#[cfg(test)]
mod tests;
mod time_span;
mod usage;
mod val_split;

pub use layer::{Given, Layer, Source};
pub use levels::Levels;
pub use micro_batch::MicroBatch;
pub use names::{nearest, unread_variables, value_name};
pub use reference::reference;
pub use settings::{
    Augment, Batch, Begin, Channels, ClassWeights, Data, FeedName, Feeding, Hardware, Limit, Model,
    Network, Optim, OptimizerName, Pictures, Precision, Preprocessing, Random, Rate, Run,
    ScheduleName, TrainConfig, Training,
};
pub use time_span::TimeSpan;
pub use usage::Usage;
pub use val_split::ValSplit;

use crate::data;
use crate::ops::tuning::TuningTable;
use anyhow::{Context, Result};
use clap::FromArgMatches;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Settings and where each of them comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    /// The settings.
    pub config: TrainConfig,
    /// For each setting that is not its default, what gave it.
    pub sources: BTreeMap<String, Source>,
}

impl Default for TrainConfig {
    /// The chapter's settings (d2l.ai, section 7.6).
    fn default() -> TrainConfig {
        let matches = declared::command()
            .try_get_matches_from::<_, String>([])
            .expect("every setting has a default or may be absent");
        TrainConfig::from_arg_matches(&matches).expect("declared together")
    }
}

/// The settings of a new run: those of its file, if it has one, and over them what is given.
///
/// # Errors
/// When the file is wrong, or two settings contradict each other.
pub fn from_file(file: Option<&Path>, given: &[Layer]) -> Result<Resolved> {
    let file = file.map(Layer::file);
    let file = file.transpose().map_err(Usage::unless_io)?;
    let layers: Vec<Layer> = file.into_iter().chain(given.iter().cloned()).collect();
    resolve(&layers)
}

/// Merges layers, the later ones over the earlier ones, over the defaults.
///
/// # Errors
/// When two settings contradict each other.
pub fn resolve(layers: &[Layer]) -> Result<Resolved> {
    checked(merged(layers)?)
}

/// Merges layers, and returns the texts of the values too.
fn merged(layers: &[Layer]) -> Result<(Resolved, BTreeMap<String, String>)> {
    let mut sources = BTreeMap::new();
    let mut texts = BTreeMap::new();
    let mut tilings = TuningTable::default();
    for layer in layers {
        // Each of the two is the whole place of the folder.
        for (key, other) in [("name", "out"), ("out", "name")] {
            if layer.texts.contains_key(key) && !layer.texts.contains_key(other) {
                texts.remove(other);
                sources.remove(other);
            }
        }
        for (key, text) in &layer.texts {
            texts.insert(key.clone(), text.clone());
            sources.insert(key.clone(), layer.source(key));
        }
        if !layer.tilings.is_empty() {
            tilings = layer.tilings.clone();
        }
    }
    let flags = texts.iter().map(|(key, text)| declared::flag(key, text));
    // Every value was parsed alone when its layer was read.
    let matches = declared::command().try_get_matches_from(flags)?;
    let mut config = TrainConfig::from_arg_matches(&matches)?;
    config.tilings = tilings;
    if config.hardware.deterministic {
        config.tilings = TuningTable::default();
    }
    Ok((Resolved { config, sources }, texts))
}

/// The same once nothing in it contradicts itself.
fn checked((resolved, texts): (Resolved, BTreeMap<String, String>)) -> Result<Resolved> {
    let Resolved { config, sources } = &resolved;
    let said = |key: &str| match (sources.get(key), texts.get(key)) {
        (Some(source), Some(text)) => source.says(key, text),
        _ => declared::long(key),
    };
    checks::check(config, said).map_err(Usage::error)?;
    checks::check_heeded(config, sources).map_err(Usage::error)?;
    Ok(resolved)
}

/// The settings of a resumed run: its own, with those of `given` that a resumed run may change.
///
/// # Errors
/// When the run's file is damaged, or another setting is given and differs from the run's.
pub fn resume(run: Layer, given: &[Layer]) -> Result<Resolved> {
    let before = resolve(std::slice::from_ref(&run))?.config;
    let free = declared::on_resume();
    let fixed = given.iter().flat_map(|layer| {
        let texts = layer.texts.iter();
        texts
            .filter(|(key, _)| !free.contains(*key))
            .map(move |(key, text)| (layer, key, text))
    });
    let fixed: Vec<_> = fixed.collect();
    let layers: Vec<Layer> = [run].iter().chain(given).cloned().collect();
    let merged = merged(&layers)?;
    // What may not change is refused before it is judged beside what the run has.
    let (old, new) = (before.table(), merged.0.config.table());
    for (layer, key, text) in fixed {
        if old.get(key) != new.get(key) {
            let may: Vec<String> = free.iter().map(|key| declared::long(key)).collect();
            return Err(Usage::error(format!(
                "{}: a resumed run keeps its settings; only {} may change. To start a new run from its weights, take \
                 --init with a weights.safetensors of the run",
                layer.source(key).says(key, text),
                may.join(", ")
            )));
        }
    }
    let resolved = checked(merged)?;
    if before.tilings != resolved.config.tilings {
        return Err(Usage::error(
            "--deterministic: a resumed run keeps the kernels that it was autotuned to",
        ));
    }
    Ok(resolved)
}

impl Resolved {
    /// The settings that are not left to their defaults, each with what gave it.
    pub fn given(&self) -> Vec<String> {
        let table = self.config.table();
        let keys = self.sources.keys();
        keys.map(|key| self.line(key, &table)).collect()
    }

    /// A setting as a file has it, with its source behind it.
    fn line(&self, key: &str, table: &toml::Table) -> String {
        let line = match table.get(key) {
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} is not set"),
        };
        match self.sources.get(key) {
            Some(source) => format!("{line:32} # {source}"),
            None => line,
        }
    }
}

impl fmt::Display for Resolved {
    /// As a file has them, with the source of each behind it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let table = self.config.table();
        for arg in declared::all() {
            writeln!(f, "{}", self.line(arg.get_id().as_str(), &table))?;
        }
        match self.config.tilings.is_empty() {
            true => Ok(()),
            false => writeln!(
                f,
                "# and {} kernels that were autotuned",
                self.config.tilings.0.len()
            ),
        }
    }
}

impl TrainConfig {
    /// The settings as a file has them.
    ///
    /// # Errors
    /// Never for settings that were resolved.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// The settings by their keys, as the file has them; those that are absent are left out. The file has the shortest
    /// decimals of an f32, which a table made directly would widen to f64.
    pub fn table(&self) -> toml::Table {
        let text = self.to_toml().expect("resolved settings can be written");
        text.parse().expect("what is written can be read")
    }

    /// Makes the places of the data set independent of where the program runs.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn locate_data(&mut self) -> Result<()> {
        if let Some(folder) = self.data.data.as_mut().filter(|data| !data::is_name(data)) {
            let absolute = std::path::absolute(&*folder).context("the folder of the data")?;
            *folder = absolute.to_string_lossy().into_owned();
        }
        if let Some(table) = &mut self.data.labels {
            *table = std::path::absolute(&*table).context("--labels")?;
        }
        Ok(())
    }

    /// Refuses what can only be evaluated.
    ///
    /// # Errors
    /// For batches of one.
    pub fn check_training(&self) -> Result<()> {
        match self.batch.batch_size {
            0 | 1 => Err(Usage::error(
                "--batch-size 1: must be at least 2, since BatchNorm needs the variance of a batch",
            )),
            _ => Ok(()),
        }
    }
}
