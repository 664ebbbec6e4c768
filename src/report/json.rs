//! A run for programs: one JSON object per line on stdout for its start, every step, every epoch, and how it ended.
use crate::config::TrainConfig;
use crate::process::output;
use crate::train::{Cause, EpochResult, Event, Observer};
use anyhow::Result;
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;

/// Prints the lines.
#[derive(Default)]
pub struct JsonLines {
    network: String,
    device: String,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Started {
        run: Cow<'a, str>,
        device: &'a str,
        /// The network, in a line.
        network: &'a str,
        /// Steps that are done already.
        step: u64,
        settings: Box<TrainConfig>,
    },
    Step {
        epoch: usize,
        step: u64,
        loss: f32,
    },
    Epoch(&'a EpochResult),
    End {
        run: Cow<'a, str>,
        epochs: usize,
        step: u64,
        train_loss: f64,
        train_acc: f64,
        test_acc: f64,
        examples_per_second: f64,
        device: &'a str,
    },
    Interrupted {
        run: Cow<'a, str>,
        epoch: usize,
        step: u64,
        /// `signal` or `max_time`.
        cause: &'a str,
    },
    Finished {
        run: Cow<'a, str>,
        epochs: usize,
        step: u64,
    },
    Failed {
        error: String,
    },
}

impl Observer for JsonLines {
    fn on(&mut self, event: &Event) -> Result<()> {
        let line = match event {
            Event::Planned {
                network, device, ..
            } => {
                self.network = network.to_string();
                self.device = device.to_string();
                return Ok(());
            }
            Event::Started {
                folder,
                config,
                progress,
            } => {
                // They say what was fastest here, kernel by kernel.
                let mut settings = (*config).clone();
                settings.tilings.0.clear();
                Line::Started {
                    run: folder.to_string_lossy(),
                    device: &self.device,
                    network: &self.network,
                    step: progress.step,
                    settings: Box::new(settings),
                }
            }
            Event::Step {
                progress, result, ..
            } => Line::Step {
                epoch: progress.epoch + 1,
                step: progress.step,
                loss: result.loss,
            },
            Event::Evaluated { epoch, .. } => Line::Epoch(epoch),
            Event::Finished {
                folder,
                progress,
                test_acc,
                device,
            } => {
                let Some(last) = progress.history.last() else {
                    return Ok(());
                };
                Line::End {
                    run: folder.to_string_lossy(),
                    epochs: last.epoch,
                    step: progress.step,
                    train_loss: last.train_loss,
                    train_acc: last.train_acc,
                    test_acc: *test_acc,
                    examples_per_second: progress.examples_per_second(),
                    device,
                }
            }
            Event::Interrupted {
                folder,
                progress,
                cause,
            } => Line::Interrupted {
                run: folder.to_string_lossy(),
                epoch: progress.epoch + 1,
                step: progress.step,
                cause: match cause {
                    Cause::Asked => "signal",
                    Cause::MaxTime => "max_time",
                },
            },
            Event::AlreadyFinished {
                folder, progress, ..
            } => Line::Finished {
                run: folder.to_string_lossy(),
                epochs: progress.history.len(),
                step: progress.step,
            },
            Event::Tuned { .. } | Event::Epoch { .. } | Event::Saved { .. } => return Ok(()),
        };
        print(&line)
    }
}

/// Ends the lines of a run that failed, or never began.
pub fn failed(error: &anyhow::Error) {
    let error = format!("{error:#}");
    // The error is told on stderr too, and is perhaps that nobody reads the lines.
    let _ = print(&Line::Failed { error });
}

fn print(line: &Line) -> Result<()> {
    let mut out = output();
    out.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())?;
    // A reader at the other end of a pipe sees each line as it happens.
    out.flush()?;
    Ok(())
}
