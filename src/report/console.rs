//! A run for people, on stderr: a progress bar on a terminal, plain lines elsewhere.
use crate::plan::mib;
use crate::process::{command, quoted, say};
use crate::train::{EpochResult, Event, Observer, Progress};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::path::Path;

/// Tells of a run.
#[derive(Default)]
pub struct Console {
    epochs: usize,
    bar: Option<ProgressBar>,
}

impl Observer for Console {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Planned {
                data,
                device,
                memory,
                batch,
                micro_batch,
            } => {
                say(format_args!("{data}: {} planned on {device}", mib(*memory)));
                if let Some(micro) = micro_batch {
                    say(format_args!(
                        "gradient accumulation: micro-batches of {micro}, batch {batch}"
                    ));
                }
            }
            Event::Tuned { note } => say(note),
            Event::Started { config, .. } => self.epochs = config.run.epochs,
            Event::Epoch { progress, steps } => self.bar = self.new_bar(progress, *steps),
            Event::Step { progress, .. } => self.step(progress),
            Event::Evaluated { epoch, .. } => self.epoch(epoch),
            Event::Finished {
                folder,
                progress,
                test_acc,
                ..
            } => {
                if let Some(best) = progress.best().filter(|best| best.val_acc.is_some()) {
                    say(format_args!(
                        "test acc {test_acc:.3} after epoch {}, the best by validation",
                        best.epoch
                    ));
                }
                say(format_args!("run saved in {}", folder.display()));
            }
            Event::Interrupted { folder, progress } => {
                self.clear();
                say(format_args!(
                    "stopped at step {}; checkpoint saved; resume with\n  {} {}",
                    progress.step,
                    command("train --resume"),
                    quoted(folder)
                ));
            }
            Event::AlreadyFinished { folder, progress } => already_finished(folder, progress),
            Event::Saved { .. } => {}
        }
        Ok(())
    }
}

/// A finished run, and how it is evaluated and trained on.
fn already_finished(folder: &Path, progress: &Progress) {
    let epochs = progress.history.len();
    let [shown, run] = [folder.display().to_string(), quoted(folder)];
    say(format_args!("{shown} is finished: {epochs} epochs"));
    if let Some(best) = progress.best() {
        let acc = best.val_acc.or(best.test_acc).unwrap_or(f64::NAN);
        say(format_args!(
            "the best is epoch {}, acc {acc:.3}:\n  {} {run} --best",
            best.epoch,
            command("eval")
        ));
    }
    say(format_args!(
        "to train it on:\n  {} {run} --epochs {}",
        command("train --resume"),
        2 * epochs
    ));
}

impl Console {
    fn new_bar(&self, progress: &Progress, steps: usize) -> Option<ProgressBar> {
        if !stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new(steps as u64).with_position(progress.batch as u64);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {pos}/{len}  {msg}  {eta_precise} left",
        );
        bar.set_style(style.expect("a well-formed template"));
        bar.set_prefix(format!("epoch {}/{}", progress.epoch + 1, self.epochs));
        Some(bar)
    }

    fn step(&self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "loss {:.3}  acc {:.3}  {:.0} examples/s",
                progress.sums.mean_loss(),
                progress.sums.accuracy(),
                progress.examples_per_second()
            ));
            bar.set_position(progress.batch as u64);
        }
    }

    fn epoch(&mut self, result: &EpochResult) {
        self.clear();
        let acc = |name, acc: Option<f64>| {
            acc.map_or(String::new(), |acc| format!("  {name} acc {acc:.3}"))
        };
        say(format_args!(
            "epoch {}/{}  train loss {:.3}  train acc {:.3}{}{}  {:.1} examples/sec",
            result.epoch,
            self.epochs,
            result.train_loss,
            result.train_acc,
            acc("val", result.val_acc),
            acc("test", result.test_acc),
            result.examples_per_second
        ));
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
