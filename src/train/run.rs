//! The loop over epochs: steps, evaluations, checkpoints, and what stops it early.
use super::checkpoint;
use super::evaluation::evaluate_unless;
use super::event::{Cause, Event, Observer, Unheard, tell};
use super::info::WeightsInfo;
use super::micro;
use super::optim::{Length, Schedule};
use super::progress::{Progress, Sums};
use super::session::{READ_AFTER, Session};
use super::step_plans::{self, Program, batches};
use crate::backend::{DeviceError, Failure};
use crate::config::{self, MicroBatch, TrainConfig};
use crate::data::{Sampler, Split};
use crate::process::{command, quoted};
use anyhow::{Error, Result, anyhow};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the device is asked for its losses. Asking waits for the steps in flight.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Time between checkpoints within an epoch, unless they are counted in steps. What was trained since the
/// last one is lost with the device.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All epochs are done, or as many as its patience allows.
    Finished,
    /// It stopped before; a checkpoint holds the place.
    Interrupted(Cause),
}

/// A run at work.
pub(super) struct Run<'a> {
    /// The resolved configuration.
    pub config: &'a TrainConfig,
    /// The run's folder.
    pub folder: &'a Path,
    /// What goes into the weights files.
    pub info: &'a WeightsInfo,
    /// The network on its device.
    pub session: &'a mut Session,
    /// Where it stands.
    pub progress: Progress,
    /// Who is told.
    pub observers: &'a mut [Box<dyn Observer>],
    /// Set from outside to stop it after the step at work.
    pub stop: &'a AtomicBool,
    /// When it stops by itself.
    pub deadline: Option<Instant>,
    /// When the last checkpoint was saved.
    pub saved: Instant,
}

impl Run<'_> {
    /// Trains from where the progress stands to the configured number of epochs, with a checkpoint after each.
    ///
    /// # Errors
    /// When the device, the disk or an observer fails, or the loss is no longer finite; checkpoints stay.
    pub fn train(mut self) -> Result<Outcome> {
        let trained = self.epochs();
        trained.map_err(|error| match error.is::<Unheard>() {
            true => self.stopped(error),
            false => error,
        })
    }

    fn epochs(&mut self) -> Result<Outcome> {
        let (folder, config) = (self.folder, self.config);
        tell(
            self.observers,
            &Event::Started {
                folder,
                config,
                progress: &self.progress,
            },
        )?;
        let config::Run {
            epochs, patience, ..
        } = config.run;
        while self.progress.epoch < epochs && !self.progress.is_stalled(patience) {
            let trained = self.train_epoch();
            if let Err(error) = &trained
                && error.is::<Unheard>()
                && self.progress.batch > 0
            {
                self.write()?;
            }
            if let Break(cause) = trained? {
                self.save()?;
                return self.interrupted(cause);
            }
            let split = match self.session.len(Split::Validation) {
                0 => Split::Test,
                _ => Split::Validation,
            };
            let (evaluated, heard) = match self.evaluate(split)? {
                Continue(evaluated) => evaluated,
                Break(cause) => {
                    self.save()?;
                    return self.interrupted(cause);
                }
            };
            let loss = evaluated.mean_loss();
            if !loss.is_finite() {
                return Err(self.diverged(&format!(
                    "the loss on the {} images is {loss}",
                    split.name()
                )));
            }
            let lr = self.lr(self.progress.step.saturating_sub(1));
            self.progress.finish_epoch(split, &evaluated, lr);
            self.save()?;
            heard?;
            if let Some(epoch) = self.progress.history.last() {
                tell(
                    self.observers,
                    &Event::Evaluated {
                        folder,
                        progress: &self.progress,
                        epoch,
                    },
                )?;
            }
        }
        let test_acc = match self.test()? {
            Continue(test_acc) => test_acc,
            // All epochs are saved, and the device holds the weights of the best one by now.
            Break(cause) => return self.interrupted(cause),
        };
        let told = tell(
            self.observers,
            &Event::Finished {
                folder,
                progress: &self.progress,
                test_acc,
                device: self.session.backend().device(),
            },
        );
        told.map_err(|error| {
            anyhow!(
                "{error:#}\nthe run is finished, and saved in {}",
                folder.display()
            )
        })?;
        Ok(Outcome::Finished)
    }

    fn interrupted(&mut self, cause: Cause) -> Result<Outcome> {
        let event = Event::Interrupted {
            folder: self.folder,
            progress: &self.progress,
            cause,
        };
        tell(self.observers, &event)?;
        Ok(Outcome::Interrupted(cause))
    }

    /// What a split measures, unless the run is to stop meanwhile; and whether the observers took note of the answers:
    /// what was trained is saved before that counts.
    fn evaluate(&mut self, split: Split) -> Result<ControlFlow<Cause, (Sums, Result<()>)>> {
        let (stop, deadline) = (self.stop, self.deadline);
        let told = Cell::new(None);
        let stops = || {
            told.set(cause(stop, deadline));
            told.get().is_some()
        };
        let labels = self.session.labels(split).to_vec();
        let observers = &mut *self.observers;
        let mut heard = Ok(());
        let evaluated = evaluate_unless(self.session, split, stops, |session, examples| {
            let of_batch: Vec<u32> = examples.iter().map(|&i| labels[i as usize]).collect();
            let answers = Event::Answers {
                split,
                examples,
                labels: &of_batch,
                logits: &session.logits()?,
            };
            if heard.is_ok() {
                heard = tell(observers, &answers);
            }
            Ok(())
        });
        let evaluated = evaluated.map_err(|error| self.stopped(error))?;
        Ok(match told.get() {
            Some(cause) => Break(cause),
            None => Continue((evaluated.unwrap_or_default(), heard)),
        })
    }

    /// The run's accuracy on the test images: the last epoch's, or where epochs were compared on validation images
    /// that of the best one, which is looked at only now.
    fn test(&mut self) -> Result<ControlFlow<Cause, f64>> {
        let last = self.progress.history.last();
        if let Some(known) = last.and_then(|epoch| epoch.test_acc) {
            return Ok(Continue(known));
        }
        let best = checkpoint::best_of(self.folder, &self.progress)?;
        checkpoint::load_weights(self.session, &checkpoint::weights_in(&best))?;
        match self.evaluate(Split::Test)? {
            Break(cause) => Ok(Break(cause)),
            Continue((evaluated, heard)) => {
                heard?;
                Ok(Continue(evaluated.accuracy()))
            }
        }
    }

    fn save(&mut self) -> Result<()> {
        let heard = tell(self.observers, &Event::Saving);
        let checkpoint = &self.write()?;
        heard?;
        tell(self.observers, &Event::Saved { checkpoint })
    }

    /// Only of finite weights, with which the run can go on.
    fn write(&mut self) -> Result<PathBuf> {
        let broken = self.session.not_finite();
        if let Some(param) = broken.map_err(|error| self.stopped(error))? {
            return Err(self.diverged(&format!("{param} is no longer finite")));
        }
        let saved = checkpoint::save(
            self.folder,
            self.session,
            self.info,
            &self.progress,
            self.config.run.keep,
        );
        let checkpoint = saved.map_err(|error| self.stopped(error))?;
        self.saved = Instant::now();
        Ok(checkpoint)
    }

    /// The rest of the epoch's steps, unless the run is to stop meanwhile.
    fn train_epoch(&mut self) -> Result<ControlFlow<Cause>> {
        let save_every = self.config.run.save_every;
        let config::Random { seed, shuffle } = self.config.random;
        // Batches that are to be overfitted stay the same ones.
        let shuffle = shuffle && self.config.training.overfit.is_none();
        let (batch_size, limit) = (
            self.session.spec().batch_size,
            self.session.spec().limit_batches,
        );
        let (epoch, images) = (self.progress.epoch, self.session.len(Split::Train));
        self.session.set_epoch(epoch);
        let order = Sampler::new(seed, shuffle).order(epoch, images);
        let steps = self.steps();
        let mut todo = batches(&order, batch_size, limit)
            .skip(self.progress.batch)
            .peekable();
        let mut queued = VecDeque::new();
        let mut last_read = Instant::now();
        let mut rate = None;
        let progress = &self.progress;
        tell(self.observers, &Event::Epoch { progress, steps })?;
        while let Some(batch) = todo.next() {
            let next = self.lr(self.progress.step + queued.len() as u64);
            if rate.replace(next) != Some(next) {
                self.session.set_learning_rate(next)?;
            }
            self.step(batch, todo.peek().copied())
                .map_err(|error| self.stopped(error))?;
            queued.push_back(batch.len());
            let stop = cause(self.stop, self.deadline);
            let step = self.progress.step + queued.len() as u64;
            let save = match save_every {
                Some(steps) => step.is_multiple_of(steps as u64),
                None => self.saved.elapsed() >= SAVE_EVERY,
            };
            let full = queued.len() >= READ_AFTER || self.session.is_full();
            let due = full || save || last_read.elapsed() >= READ_EVERY;
            if due || stop.is_some() || todo.peek().is_none() {
                self.read_results(&mut queued, last_read)?;
                last_read = Instant::now();
                if let Some(cause) = stop {
                    return Ok(Break(cause));
                }
                // The end of an epoch is saved with its evaluation.
                if save && todo.peek().is_some() {
                    self.save()?;
                    last_read = Instant::now();
                }
            }
        }
        Ok(Continue(()))
    }

    /// Steps of an epoch.
    fn steps(&self) -> usize {
        let spec = self.session.spec();
        let images = self.session.len(Split::Train);
        step_plans::steps(images, spec.batch_size, spec.limit_batches)
    }

    /// Batches that BatchNorm has seen, as the progress says or, where an earlier program stored it, as follows from the
    /// steps: those of an epoch have whole batches, but for the last.
    fn passes(&self) -> u64 {
        let Progress { epoch, batch, .. } = self.progress;
        let (spec, images) = (self.session.spec(), self.session.len(Split::Train));
        let of_steps = |steps: usize| -> u64 {
            let examples = |step| {
                spec.batch_size
                    .min(images.saturating_sub(step * spec.batch_size))
            };
            let passes = |step| micro::sizes(examples(step), spec.micro_batch).len() as u64;
            (0..steps).map(passes).sum()
        };
        let known = self.progress.passes;
        known.unwrap_or_else(|| epoch as u64 * of_steps(self.steps()) + of_steps(batch))
    }

    /// The learning rate of a step of the run, from 0.
    fn lr(&self, step: u64) -> f32 {
        Schedule::from(&self.config.rate).lr(step, self.length())
    }

    /// Steps of an epoch and of the whole run.
    fn length(&self) -> Length {
        let epoch = self.steps() as u64;
        let total = self.config.run.epochs as u64 * epoch;
        Length { epoch, total }
    }

    /// Queues a step, and has the images of the next one read meanwhile.
    fn step(&mut self, batch: &[u32], next: Option<&[u32]>) -> Result<()> {
        if let Some(next) = next {
            self.session.prefetch(Program::Train, Split::Train, next)?;
        }
        self.session.train(batch)
    }

    /// Waits for the queued steps, each of so many examples, and counts them in.
    fn read_results(&mut self, queued: &mut VecDeque<usize>, last_read: Instant) -> Result<()> {
        let results = self.session.results();
        let results = results.map_err(|error| self.stopped(error))?;
        let micro_batch = self.session.spec().micro_batch;
        let mut passes = self.passes();
        let length = self.length();
        let schedule = Schedule::from(&self.config.rate);
        let progress = &mut self.progress;
        progress.seconds += last_read.elapsed().as_secs_f64();
        let mut told = Ok(());
        for (result, examples) in results.into_iter().zip(queued.drain(..)) {
            let lr = schedule.lr(progress.step, length);
            progress.step += 1;
            progress.batch += 1;
            progress.examples += examples as u64;
            passes += micro::sizes(examples, micro_batch).len() as u64;
            progress.passes = Some(passes);
            progress.sums.add(result, examples);
            if !result.loss.is_finite() {
                return Err(self.diverged(&format!("the loss is {}", result.loss)));
            }
            // The device has done them all, so all of them are counted in.
            if told.is_ok() {
                told = tell(
                    self.observers,
                    &Event::Step {
                        progress,
                        result,
                        lr,
                    },
                );
            }
        }
        told
    }

    /// What to say when the device or the disk failed.
    fn stopped(&self, error: Error) -> Error {
        let failure = error.downcast_ref::<DeviceError>().map(|e| e.failure);
        let saved = checkpoint::latest(self.folder);
        let mut next = match &saved {
            Ok(saved) => format!(
                "{} is saved; resume with\n  {} {}",
                saved.display(),
                command("train --resume"),
                quoted(self.folder)
            ),
            Err(_) if error.is::<Unheard>() => "there is no checkpoint yet".to_string(),
            Err(_) => {
                "there is no checkpoint yet: start again, with a smaller --save-every".to_string()
            }
        };
        if failure == Some(Failure::OutOfMemory) {
            let batch = self.config.batch.micro_batch.and_then(MicroBatch::examples);
            let half = batch
                .unwrap_or(self.config.batch.batch_size)
                .div_ceil(2)
                .max(2);
            let init = match &saved {
                Ok(saved) => format!(" --init {}", quoted(&checkpoint::weights_in(saved))),
                Err(_) => String::new(),
            };
            next += &format!(
                "\nFree device memory first. A new run needs less with\n  {}{init} --micro-batch {half}",
                command("train")
            );
        }
        anyhow!(
            "{error:#}\nthe training stopped after step {}; {next}",
            self.progress.step
        )
    }

    /// What to say when the training left the finite numbers.
    fn diverged(&self, what: &str) -> Error {
        let Progress { step, history, .. } = &self.progress;
        let kept = match checkpoint::latest(self.folder) {
            Ok(last) => format!("the last checkpoint is {}", last.display()),
            Err(_) => "there is no checkpoint yet".to_string(),
        };
        // Guessing has the logarithm of the number of classes.
        let guessing = (self.info.classes.len() as f64).ln();
        let lost = history
            .last()
            .filter(|epoch| epoch.train_loss > 2.0 * guessing);
        let lr = self.config.rate.lr;
        let advice = match lost {
            Some(epoch) => format!(
                "It had diverged before: the mean loss of epoch {} is {:.3e}. Start a new run with a lower --lr",
                epoch.epoch, epoch.train_loss
            ),
            None => format!(
                "The learning rate {lr} is probably too high: try --lr {}",
                lower(lr)
            ),
        };
        anyhow!("{what} after step {step}, so the training was stopped; {kept}. {advice}")
    }
}

/// Why a run is to stop now, if it is.
fn cause(stop: &AtomicBool, deadline: Option<Instant>) -> Option<Cause> {
    if stop.load(Ordering::Relaxed) {
        return Some(Cause::Asked);
    }
    let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    over.then_some(Cause::MaxTime)
}

/// A tenth of a learning rate, and no more than the default one.
fn lower(lr: f32) -> f32 {
    // To two digits: 0.01 / 10 is 0.0009999999 in f32.
    let tenth = format!("{:.1e}", lr / 10.0).parse().unwrap_or(lr / 10.0);
    f32::min(tenth, config::TrainConfig::default().rate.lr)
}
