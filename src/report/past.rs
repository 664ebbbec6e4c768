//! A run as the files in its folder tell of it, also while another process trains it.
use super::events;
use super::phases::Phases;
use crate::config::{self, TrainConfig};
use crate::files;
use crate::process::one_line;
use crate::train::{EpochResult, Progress, folder, is_held};
use anyhow::{Context, Error, Result};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// A row for each epoch: no run's file comes near this many bytes.
const MOST_BYTES: u64 = 1 << 28;

/// What becomes of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A process trains it.
    Running,
    /// All epochs are done.
    Finished,
    /// It was stopped or killed, and can go on if it has a checkpoint.
    Interrupted,
    /// An error ended it.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            State::Running => "running",
            State::Finished => "finished",
            State::Interrupted => "interrupted",
            State::Failed => "failed",
        })
    }
}

/// A run.
pub struct Past {
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings.
    pub config: TrainConfig,
    /// The finished epochs.
    pub history: Vec<EpochResult>,
    /// What becomes of it.
    pub state: State,
    /// Its events; none of runs of earlier programs.
    pub events: Vec<Value>,
}

impl Past {
    /// Reads the files.
    ///
    /// # Errors
    /// When the folder is no run's, or a file is damaged.
    pub fn read(run: &Path) -> Result<Past> {
        let config = config::resolve(&[folder::settings(run)?])?.config;
        let path = run.join("metrics.csv");
        let rows = files::read_if_there(&path, MOST_BYTES)?.unwrap_or_default();
        let rows = csv::Reader::from_reader(&rows[..]).into_deserialize();
        let history: Vec<EpochResult> = rows
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is damaged", one_line(&path)))?;
        let events = events::read(run)?;
        let failed = events.last().is_some_and(|last| last["event"] == "failed");
        let epoch = history.len();
        let progress = Progress {
            epoch,
            history: history.clone(),
            ..Progress::default()
        };
        let all = epoch >= config.run.epochs || progress.is_stalled(config.run.patience);
        let is_finished = match history.last() {
            Some(last) if all && last.test_acc.is_none() => folder::has_ended(run, last.step)?,
            _ => all,
        };
        let state = match is_finished {
            true => State::Finished,
            false if is_held(run) => State::Running,
            false if failed => State::Failed,
            false => State::Interrupted,
        };
        Ok(Past {
            folder: run.to_path_buf(),
            config,
            history,
            state,
            events,
        })
    }

    /// The name of its folder.
    pub fn name(&self) -> String {
        let name = self.folder.canonicalize().ok();
        let name = name.as_deref().unwrap_or(&self.folder).file_name();
        name.map_or(String::new(), |name| name.to_string_lossy().into_owned())
    }

    /// The best epoch, and its accuracy on the images that it was chosen on.
    pub fn best(&self) -> Option<(EpochResult, f64)> {
        let progress = Progress {
            history: self.history.clone(),
            ..Progress::default()
        };
        let best = progress.best()?.clone();
        let acc = best.val_acc.or(best.test_acc)?;
        Some((best, acc))
    }

    /// How each of its processes began, in their order.
    pub fn starts(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.events
            .iter()
            .filter(|event| event["event"] == "started")
    }

    /// The device that it was trained on last, or else the one that its settings ask for.
    pub fn device(&self) -> String {
        let started = self.starts().next_back();
        let known = started.and_then(|started| started["device"].as_str());
        known.unwrap_or(&self.config.hardware.device).to_string()
    }

    /// The time that its processes spent, as far as they came to tell it.
    pub fn seconds(&self) -> Phases {
        let mut all = Phases::default();
        let mut of_process = Phases::default();
        for event in &self.events {
            if event["event"] == "started" {
                all += std::mem::take(&mut of_process);
            }
            if let Ok(told) = serde_json::from_value(event["seconds"].clone()) {
                of_process = told;
            }
        }
        all += of_process;
        all
    }
}

/// The runs in a folder by their names, or the one that it is itself; and why others in it cannot be read.
///
/// # Errors
/// When the folder cannot be read.
pub fn runs_in(folder: &Path) -> Result<(Vec<Past>, Vec<Error>)> {
    let has_settings = |path: &Path| path.join(folder::CONFIG).is_file();
    let mut paths = match has_settings(folder) {
        true => vec![folder.to_path_buf()],
        false => {
            let entries = folder.read_dir();
            let entries = entries.and_then(|entries| {
                let paths = entries.map(|entry| Ok(entry?.path()));
                paths.collect::<std::io::Result<Vec<PathBuf>>>()
            });
            entries.with_context(|| format!("reading {}", one_line(folder)))?
        }
    };
    paths.retain(|path| has_settings(path));
    paths.sort();
    let (mut runs, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        match Past::read(&path) {
            Ok(run) => runs.push(run),
            Err(error) => unreadable.push(error.context(one_line(&path))),
        }
    }
    Ok((runs, unreadable))
}
