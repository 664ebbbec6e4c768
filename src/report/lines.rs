//! The events of a run as lines for programs, one JSON object each: `--json` prints them and `events.jsonl` keeps them.
use super::phases::{Phases, Stopwatch};
use crate::config::{Source, TrainConfig};
use crate::process::{GIT, VERSION};
use crate::train::{Cause, EpochResult, Event};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Where a run comes from, beside its settings.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// What gave each setting that is not its default and not from the run's own file.
    pub sources: BTreeMap<String, Source>,
}

/// Makes the lines.
pub struct Lines {
    origin: Origin,
    network: String,
    device: String,
    data: String,
    stopwatch: Stopwatch,
}

/// A line.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line<'a> {
    /// Training begins, or goes on.
    Started(Box<Started<'a>>),
    /// A step was measured.
    Step {
        /// From 1.
        epoch: usize,
        /// Of the whole run, from 1.
        step: u64,
        /// Mean loss of the batch.
        loss: f32,
        /// Learning rate.
        lr: f32,
    },
    /// An epoch is saved.
    Epoch {
        /// What was measured.
        #[serde(flatten)]
        epoch: &'a EpochResult,
        /// Seconds that this process has spent so far.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<Phases>,
    },
    /// All epochs are done.
    End {
        /// The run's folder.
        run: Cow<'a, str>,
        /// Epochs of the run.
        epochs: usize,
        /// Steps of the run.
        step: u64,
        /// Of the last epoch.
        train_loss: f64,
        /// Of the last epoch.
        train_acc: f64,
        /// Share of right answers on the test images, if there are any.
        test_acc: Option<f64>,
        /// Examples per second of training steps.
        examples_per_second: f64,
        /// The device.
        device: &'a str,
        /// Seconds that this process has spent.
        seconds: Phases,
    },
    /// It was asked to stop, and is saved.
    Interrupted {
        /// The run's folder.
        run: Cow<'a, str>,
        /// The epoch that it was in, from 1.
        epoch: usize,
        /// Steps that are done.
        step: u64,
        /// `signal` or `max_time`.
        cause: &'static str,
        /// Seconds that this process has spent.
        seconds: Phases,
    },
    /// A run that was to go on had done all its epochs before.
    Finished {
        /// The run's folder.
        run: Cow<'a, str>,
        /// Its epochs.
        epochs: usize,
        /// Its steps.
        step: u64,
    },
    /// An error ended it.
    Failed {
        /// Which.
        error: String,
    },
}

/// How a run begins.
#[derive(Serialize)]
pub struct Started<'a> {
    run: Cow<'a, str>,
    time: String,
    /// Of this program.
    version: &'static str,
    /// The commit it was built from, empty where that is not known.
    git: &'static str,
    device: &'a str,
    /// The network, in a line.
    network: &'a str,
    data: &'a str,
    /// Steps that are done already.
    step: u64,
    settings: TrainConfig,
    /// What gave each setting that is not its default.
    sources: BTreeMap<&'a str, String>,
}

impl Lines {
    /// The lines of a run that begins now.
    pub fn new(origin: Origin) -> Lines {
        Lines {
            origin,
            network: String::new(),
            device: String::new(),
            data: String::new(),
            stopwatch: Stopwatch::default(),
        }
    }

    /// The line of an event, if it has one.
    pub fn line<'a>(&'a mut self, event: &Event<'a>) -> Option<Line<'a>> {
        self.stopwatch.event(event);
        let seconds = self.stopwatch.phases();
        Some(match event {
            Event::Planned {
                network,
                device,
                data,
                ..
            } => {
                self.network = network.to_string();
                self.device = device.to_string();
                self.data = data.to_string();
                return None;
            }
            Event::Started {
                folder,
                config,
                progress,
            } => {
                // They say what was fastest here, kernel by kernel.
                let mut settings = (*config).clone();
                settings.tilings.0.clear();
                let sources = self.origin.sources.iter();
                Line::Started(Box::new(Started {
                    run: folder.to_string_lossy(),
                    time: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
                    version: VERSION,
                    git: GIT,
                    device: &self.device,
                    network: &self.network,
                    data: &self.data,
                    step: progress.step,
                    settings,
                    sources: sources
                        .map(|(key, source)| (key.as_str(), source.to_string()))
                        .collect(),
                }))
            }
            Event::Step {
                progress,
                result,
                lr,
            } => Line::Step {
                epoch: progress.epoch + 1,
                step: progress.step,
                loss: result.loss,
                lr: *lr,
            },
            Event::Evaluated { epoch, .. } => Line::Epoch {
                epoch,
                seconds: Some(seconds),
            },
            Event::Finished {
                folder,
                progress,
                test_acc,
                device,
            } => {
                let last = progress.history.last()?;
                Line::End {
                    run: folder.to_string_lossy(),
                    epochs: last.epoch,
                    step: progress.step,
                    train_loss: last.train_loss,
                    train_acc: last.train_acc,
                    test_acc: *test_acc,
                    examples_per_second: progress.examples_per_second(),
                    device,
                    seconds,
                }
            }
            Event::Interrupted {
                folder,
                progress,
                cause,
            } => Line::Interrupted {
                run: folder.to_string_lossy(),
                epoch: progress.in_epoch(),
                step: progress.step,
                cause: match cause {
                    Cause::Asked => "signal",
                    Cause::MaxTime => "max_time",
                },
                seconds,
            },
            Event::AlreadyFinished {
                folder, progress, ..
            } => Line::Finished {
                run: folder.to_string_lossy(),
                epochs: progress.history.len(),
                step: progress.step,
            },
            Event::Failed { error } => Line::Failed {
                error: format!("{error:#}"),
            },
            Event::Tuned { .. }
            | Event::Epoch { .. }
            | Event::Answers { .. }
            | Event::Saving
            | Event::Saved { .. } => return None,
        })
    }
}
