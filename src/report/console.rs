//! A run for people, on stderr: a progress bar on a terminal, elsewhere a line from time to time.
use super::pace::{Meter, spoken};
use super::page::PAGE;
use super::spark::Spark;
use crate::config::TrainConfig;
use crate::plan::mib;
use crate::process::{command, insist, is_viewed, note, one_line, quoted, say, shows_progress};
use crate::train::{Cause, EpochResult, Event, Observer, Progress};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between lines where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Tells of a run.
pub struct Console {
    say_every: Duration,
    warmup: u64,
    patience: Option<usize>,
    meter: Meter,
    losses: Spark,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Default for Console {
    fn default() -> Console {
        let now = Instant::now();
        Console {
            say_every: SAY_EVERY,
            warmup: 0,
            patience: None,
            meter: Meter::new(now),
            losses: Spark::default(),
            said: now,
            bar: None,
        }
    }
}

impl Observer for Console {
    fn on(&mut self, event: &Event) -> Result<()> {
        let first = self.meter.steps() == 0;
        self.meter.event(event, Instant::now());
        match event {
            Event::Planned {
                network,
                data,
                device,
                memory,
                batch,
                micro_batch,
                ..
            } => {
                say(network);
                say(format_args!("{data}: {} planned on {device}", mib(*memory)));
                if let Some(micro) = micro_batch {
                    say(format_args!(
                        "gradient accumulation: micro-batches of {micro}, batch {batch}"
                    ));
                }
            }
            Event::Tuned { note } => say(note),
            Event::Started { config, .. } => {
                self.warmup = config.rate.warmup;
                self.patience = config.run.patience;
                self.said = Instant::now();
            }
            Event::Epoch { progress, .. } => {
                if first {
                    self.check_warmup();
                }
                self.show_bar(progress);
            }
            Event::Step {
                progress, result, ..
            } => {
                self.losses.push(f64::from(result.loss));
                self.step(progress, Instant::now());
            }
            Event::Evaluated { epoch, .. } => self.epoch(epoch),
            Event::Finished {
                folder,
                progress,
                test_acc,
                ..
            } => {
                self.tell_patience(progress);
                let best = progress.best().filter(|best| best.val_acc.is_some());
                if let (Some(best), Some(test_acc)) = (best, test_acc) {
                    say(format_args!(
                        "test acc {test_acc:.3} after epoch {}, the best by validation",
                        best.epoch
                    ));
                }
                say(format_args!("run saved in {}", one_line(folder)));
                say(format_args!("report: {}", one_line(folder.join(PAGE))));
            }
            Event::Interrupted {
                folder,
                progress,
                cause,
            } => {
                self.clear();
                let why = match cause {
                    Cause::Asked => "",
                    Cause::MaxTime => "--max-time is over: ",
                };
                insist(format_args!(
                    "{why}stopped at step {}; checkpoint saved; resume with\n  {} {}",
                    progress.step,
                    command("train --resume"),
                    quoted(folder)
                ));
            }
            Event::AlreadyFinished {
                folder,
                config,
                progress,
            } => already_finished(folder, config, progress),
            Event::Answers { .. } | Event::Saving | Event::Saved { .. } | Event::Failed { .. } => {}
        }
        Ok(())
    }
}

/// A finished run, and how it is evaluated and trained on.
fn already_finished(folder: &Path, config: &TrainConfig, progress: &Progress) {
    let epochs = progress.history.len();
    let [shown, run] = [one_line(folder), quoted(folder)];
    say(format_args!("{shown} is finished: {epochs} epochs"));
    if let Some(best) = progress.best() {
        let acc = best.val_acc.or(best.test_acc).unwrap_or(f64::NAN);
        say(format_args!(
            "the best is epoch {}, acc {acc:.3}:\n  {} {run} --best",
            best.epoch,
            command("eval")
        ));
    }
    let more = match config.run.patience {
        Some(patience) if epochs < config.run.epochs => {
            say(format_args!(
                "--patience {patience} ended it before its {} epochs",
                config.run.epochs
            ));
            format!("--patience {}", 2 * patience)
        }
        Some(patience) if progress.is_stalled(config.run.patience) => {
            format!("--epochs {} --patience {}", 2 * epochs, 2 * patience)
        }
        _ => format!("--epochs {}", 2 * epochs),
    };
    if !folder.join(PAGE).exists() {
        say(format_args!(
            "its report is missing; to make it:\n  {} {run}",
            command("report")
        ));
    }
    say(format_args!(
        "to train it on:\n  {} {run} {more}",
        command("train --resume")
    ));
}

impl Console {
    /// Says that patience ended the run, and on which images it was lost.
    fn tell_patience(&self, progress: &Progress) {
        let (Some(patience), Some(best)) = (self.patience, progress.best()) else {
            return;
        };
        if !progress.is_stalled(self.patience) || progress.epoch == self.meter.epochs() {
            return;
        }
        say(format_args!(
            "--patience {patience}: no better {} accuracy since epoch {}, so the run ends after {} of {} epochs",
            match best.val_acc {
                Some(_) => "validation",
                None => "test",
            },
            best.epoch,
            progress.epoch,
            self.meter.epochs()
        ));
        if best.val_acc.is_none() {
            say(
                "it was stopped by the test images, which therefore flatter it; --val-split N stops by held-out training \
                 images",
            );
        }
    }

    fn check_warmup(&self) {
        let all = self.meter.epochs() as u64 * self.meter.steps() as u64;
        if self.warmup > all {
            say(format_args!(
                "--warmup {} is longer than the run of {all} steps: the learning rate never rises to --lr",
                self.warmup
            ));
        }
    }

    /// Shows the bar, where there is to be one.
    fn show_bar(&mut self, progress: &Progress) {
        if self.bar.is_some() || !shows_progress() {
            return;
        }
        let steps = self.meter.steps() as u64;
        let bar = ProgressBar::new(steps).with_position(progress.batch as u64);
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}");
        bar.set_style(style.expect("a well-formed template"));
        bar.set_prefix(self.at(progress));
        self.bar = Some(bar);
    }

    fn step(&mut self, progress: &Progress, now: Instant) {
        // A view that had the terminal may have been left meanwhile.
        self.show_bar(progress);
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "{}  {}",
                self.losses.text(),
                self.measured(progress)
            ));
            bar.set_position(progress.batch as u64);
        }
        match self.line(progress, now) {
            Some(line) if self.bar.is_some() || is_viewed() => note(line),
            Some(line) => say(line),
            None => {}
        }
    }

    /// Where a run stands, by its epochs.
    fn at(&self, progress: &Progress) -> String {
        format!("epoch {}/{}", progress.epoch + 1, self.meter.epochs())
    }

    /// The line that is due now, if one is.
    fn line(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.said) < self.say_every {
            return None;
        }
        self.said = now;
        Some(format!(
            "{}  step {}/{}  {}",
            self.at(progress),
            progress.batch,
            self.meter.steps(),
            self.measured(progress)
        ))
    }

    /// Loss, accuracy, speed, and the time that is left of the epoch's steps and of the run.
    fn measured(&self, progress: &Progress) -> String {
        let [epoch, run] = self.meter.left(progress).map(spoken);
        format!(
            "loss {:.3}  acc {:.3}  {:.0} examples/s  left: epoch {epoch}, run {run}",
            progress.sums.mean_loss(),
            progress.sums.accuracy(),
            self.meter.rate(),
        )
    }

    fn epoch(&mut self, result: &EpochResult) {
        self.clear();
        let acc = |name, acc: Option<f64>| {
            acc.map_or(String::new(), |acc| format!("  {name} acc {acc:.3}"))
        };
        say(format_args!(
            "epoch {}/{}  train loss {:.3}  train acc {:.3}{}{}  {:.1} examples/sec",
            result.epoch,
            self.meter.epochs(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepResult;

    /// A run of 3 epochs of 10 steps that was resumed after 6 of the second; a step of 4 examples takes a second.
    #[test]
    fn a_line_is_due_after_the_interval_and_restored_steps_are_not_counted() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut console = Console {
            say_every: Duration::from_secs(2),
            said: start,
            ..Console::default()
        };
        let mut progress = Progress {
            epoch: 1,
            batch: 6,
            step: 16,
            ..Progress::default()
        };
        let result = StepResult {
            loss: 0.5,
            correct: 3,
        };
        progress.sums.add(result, 24);
        let mut config = TrainConfig::default();
        config.run.epochs = 3;
        let begun = Event::Started {
            folder: Path::new(""),
            config: &config,
            progress: &progress,
        };
        console.meter.event(&begun, start);
        let begun = Event::Epoch {
            progress: &progress,
            steps: 10,
        };
        console.meter.event(&begun, start);
        let mut lines = Vec::new();
        for second in 1..=2 {
            progress.sums.add(result, 4);
            progress.batch += 1;
            let step = Event::Step {
                progress: &progress,
                result,
                lr: 0.1,
            };
            console.meter.event(&step, after(second));
            lines.push(console.line(&progress, after(second)));
        }
        assert_eq!(lines[0], None);
        let line = lines[1].as_deref().unwrap_or_default();
        let says = "epoch 2/3  step 8/10  loss 0.500  acc ";
        assert!(line.starts_with(says), "{line}");
        let says = "  4 examples/s  left: epoch 2 s, run 12 s";
        assert!(line.ends_with(says), "{line}");
        assert_eq!(console.line(&progress, after(3)), None);
    }
}
