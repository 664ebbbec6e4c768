//! A run for programs: one JSON object per line on stdout for every step, every epoch, and the end.
use crate::train::{EpochResult, Event, Observer};
use anyhow::Result;
use serde::Serialize;
use std::io::{Write, stdout};

/// Prints the lines.
pub struct JsonLines;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Step {
        epoch: usize,
        step: u64,
        loss: f32,
    },
    Epoch(&'a EpochResult),
    End {
        epochs: usize,
        step: u64,
        train_loss: f64,
        train_acc: f64,
        test_acc: f64,
        examples_per_second: f64,
        device: &'a str,
    },
}

impl Observer for JsonLines {
    fn on(&mut self, event: &Event) -> Result<()> {
        let line = match event {
            Event::Step { progress, result } => Line::Step {
                epoch: progress.epoch + 1,
                step: progress.step,
                loss: result.loss,
            },
            Event::Evaluated { epoch, .. } => Line::Epoch(epoch),
            Event::Finished {
                progress,
                test_acc,
                device,
                ..
            } => {
                let Some(last) = progress.history.last() else {
                    return Ok(());
                };
                Line::End {
                    epochs: last.epoch,
                    step: progress.step,
                    train_loss: last.train_loss,
                    train_acc: last.train_acc,
                    test_acc: *test_acc,
                    examples_per_second: progress.examples_per_second(),
                    device,
                }
            }
            _ => return Ok(()),
        };
        let mut out = stdout();
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        // A reader at the other end of a pipe sees each line as it happens.
        out.flush()?;
        Ok(())
    }
}
