//! A run as it happens: a progress bar on a terminal, plain lines elsewhere, or JSON events.
use super::{EpochResult, Progress, StepResult};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write, stderr, stdout};

/// Tells of a run. Progress goes to stderr; stdout holds results and events only.
pub struct Console {
    json: bool,
    epochs: usize,
    bar: Option<ProgressBar>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
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

impl Console {
    /// For a run of `epochs`; `json` turns the results on stdout into events, one object per line.
    pub fn new(json: bool, epochs: usize) -> Console {
        Console {
            json,
            epochs,
            bar: None,
        }
    }

    /// An epoch of `batches` begins, or goes on.
    pub fn start_epoch(&mut self, progress: &Progress, batches: usize) {
        if !stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(batches as u64).with_position(progress.batch as u64);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {pos}/{len}  {msg}  {eta_precise} left",
        );
        bar.set_style(style.expect("a well-formed template"));
        bar.set_prefix(format!("epoch {}/{}", progress.epoch + 1, self.epochs));
        self.bar = Some(bar);
    }

    /// A step was measured.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn step(&mut self, progress: &Progress, result: StepResult) -> Result<()> {
        if self.json {
            let epoch = progress.epoch + 1;
            emit(&Event::Step {
                epoch,
                step: progress.step,
                loss: result.loss,
            })?;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "loss {:.3}  acc {:.3}  {:.0} examples/s",
                progress.sums.mean_loss(),
                progress.sums.accuracy(),
                progress.examples_per_second()
            ));
            bar.set_position(progress.batch as u64);
        }
        Ok(())
    }

    /// An epoch and its test are done.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn epoch(&mut self, result: &EpochResult) -> Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.json {
            emit(&Event::Epoch(result))?;
        }
        eprintln!(
            "epoch {}/{}  train loss {:.3}  train acc {:.3}  test acc {:.3}  {:.1} examples/sec",
            result.epoch,
            self.epochs,
            result.train_loss,
            result.train_acc,
            result.test_acc,
            result.examples_per_second
        );
        Ok(())
    }

    /// The chapter's two closing lines.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn end(&mut self, progress: &Progress, device: &str) -> Result<()> {
        let Some(last) = progress.history.last() else {
            return Ok(());
        };
        if self.json {
            return emit(&Event::End {
                epochs: last.epoch,
                step: progress.step,
                train_loss: last.train_loss,
                train_acc: last.train_acc,
                test_acc: last.test_acc,
                examples_per_second: progress.examples_per_second(),
                device,
            });
        }
        let EpochResult {
            train_loss,
            train_acc,
            test_acc,
            ..
        } = last;
        let mut out = stdout();
        writeln!(
            out,
            "loss {train_loss:.3}, train acc {train_acc:.3}, test acc {test_acc:.3}"
        )?;
        writeln!(
            out,
            "{:.1} examples/sec on {device}",
            progress.examples_per_second()
        )?;
        Ok(())
    }
}

fn emit(event: &Event) -> Result<()> {
    let mut out = stdout();
    writeln!(out, "{}", serde_json::to_string(event)?)?;
    // A reader at the other end of a pipe sees each event as it happens.
    out.flush()?;
    Ok(())
}
