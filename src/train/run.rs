//! The loop over epochs: steps, tests, checkpoints, and what stops it early.
use super::checkpoint::{self, WeightsInfo};
use super::{Part, Session, batches, passes};
use crate::backend::{DeviceError, Failure};
use crate::config::{self, MicroBatch, TrainConfig};
use crate::data::Sampler;
use crate::report::{Console, Progress, Sums, write_metrics};
use anyhow::{Error, Result, anyhow, bail};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the device is asked for its losses. Asking waits for the steps in flight.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Steps queued at most before the losses are read, well inside the device's log.
const READ_AFTER: usize = 64;

/// Time between checkpoints within an epoch, unless they are counted in steps. What was trained since the
/// last one is lost with the device.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// Everything that stays the same during a run.
pub struct Run<'a> {
    /// The resolved configuration.
    pub config: &'a TrainConfig,
    /// The run's folder.
    pub folder: &'a Path,
    /// What goes into the weights files.
    pub info: &'a WeightsInfo,
    /// Number of training images.
    pub train_count: usize,
    /// Number of test images.
    pub test_count: usize,
    /// Set when the user asks to stop.
    pub interrupted: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// The user stopped it; a checkpoint holds the place.
    Interrupted,
}

impl Run<'_> {
    /// Trains from where `progress` stands to the configured number of epochs, with a checkpoint
    /// after each.
    ///
    /// # Errors
    /// When the device or the disk fails, or the loss is no longer finite; checkpoints stay.
    pub fn train(
        &self,
        session: &mut Session,
        progress: &mut Progress,
        console: &mut Console,
    ) -> Result<Outcome> {
        session.set_learning_rate(self.config.rate.lr)?;
        let mut saved = Instant::now();
        while progress.epoch < self.config.run.epochs {
            if self.train_epoch(session, progress, console, &mut saved)? == Outcome::Interrupted {
                self.save(session, progress)?;
                return Ok(Outcome::Interrupted);
            }
            let test = test(session, self.test_count, self.config, |_, _| Ok(()))
                .map_err(|error| self.stopped(progress, error))?;
            let finished = progress.finish_epoch(&test).clone();
            self.save(session, progress)?;
            saved = Instant::now();
            write_metrics(self.folder, &progress.history)?;
            console.epoch(&finished)?;
        }
        Ok(Outcome::Finished)
    }

    fn save(&self, session: &mut Session, progress: &Progress) -> Result<()> {
        checkpoint::save(self.folder, session, self.info, progress)
            .map_err(|error| self.stopped(progress, error))
    }

    fn train_epoch(
        &self,
        session: &mut Session,
        progress: &mut Progress,
        console: &mut Console,
        saved: &mut Instant,
    ) -> Result<Outcome> {
        let config::Run {
            seed,
            shuffle,
            save_every,
            ..
        } = self.config.run;
        let (batch_size, limit_batches) = (
            self.config.batch.batch_size,
            self.config.limit.limit_batches,
        );
        let order = Sampler::new(seed, shuffle).order(progress.epoch, self.train_count);
        let all = batches(&order, batch_size, limit_batches).count();
        let mut todo = batches(&order, batch_size, limit_batches)
            .skip(progress.batch)
            .peekable();
        let mut queued = VecDeque::new();
        let mut last_read = Instant::now();
        console.start_epoch(progress, all);
        while let Some(batch) = todo.next() {
            session
                .step(Part::Train, batch)
                .map_err(|error| self.stopped(progress, error))?;
            queued.push_back(batch.len());
            let stop = self.interrupted.load(Ordering::Relaxed);
            let step = progress.step + queued.len() as u64;
            let save = match save_every {
                Some(steps) => step.is_multiple_of(steps as u64),
                None => saved.elapsed() >= SAVE_EVERY,
            };
            let full = queued.len() >= READ_AFTER || session.is_full();
            let due = full || save || last_read.elapsed() >= READ_EVERY;
            if due || stop || todo.peek().is_none() {
                let results = session.results();
                let results = results.map_err(|error| self.stopped(progress, error))?;
                progress.seconds += last_read.elapsed().as_secs_f64();
                last_read = Instant::now();
                for (result, examples) in results.into_iter().zip(queued.drain(..)) {
                    progress.step += 1;
                    progress.batch += 1;
                    progress.examples += examples as u64;
                    progress.sums.add(result, examples);
                    if !result.loss.is_finite() {
                        bail!(self.diverged(progress.step, result.loss));
                    }
                    console.step(progress, result)?;
                }
                if stop {
                    return Ok(Outcome::Interrupted);
                }
                // The end of an epoch is saved with its test.
                if save && todo.peek().is_some() {
                    self.save(session, progress)?;
                    (*saved, last_read) = (Instant::now(), Instant::now());
                }
            }
        }
        Ok(Outcome::Finished)
    }

    /// What to say when the device or the disk failed.
    fn stopped(&self, progress: &Progress, error: Error) -> Error {
        let failure = error.downcast_ref::<DeviceError>().map(|e| e.failure);
        let saved = checkpoint::latest(self.folder);
        let mut next = match &saved {
            Ok(saved) => format!(
                "{} is saved; go on with\n  resnet train --resume {}",
                saved.display(),
                self.folder.display()
            ),
            Err(_) => {
                "there is no checkpoint yet: start anew, with a smaller --save-every".to_string()
            }
        };
        if failure == Some(Failure::OutOfMemory) {
            let batch = self.config.batch.micro_batch.and_then(MicroBatch::examples);
            let half = batch
                .unwrap_or(self.config.batch.batch_size)
                .div_ceil(2)
                .max(2);
            let init = match &saved {
                Ok(saved) => format!(" --init {}", checkpoint::weights_in(saved).display()),
                Err(_) => String::new(),
            };
            next += &format!(
                "\nwhich needs other programs to free memory of the device. With less of it, a new run \
                 does a step in parts:\n  resnet train{init} --micro-batch {half}"
            );
        }
        anyhow!(
            "{error:#}\nthe training stopped after step {}; {next}",
            progress.step
        )
    }

    fn diverged(&self, step: u64, loss: f32) -> String {
        let lr = self.config.rate.lr;
        let kept = match checkpoint::latest(self.folder) {
            Ok(good) => format!("the last good checkpoint is {}", good.display()),
            Err(_) => "there is no checkpoint yet".to_string(),
        };
        format!(
            "the loss is {loss} at step {step}, so the training was stopped; {kept}. \
             The learning rate {lr} is probably too high: try --lr {}",
            lr / 10.0
        )
    }
}

/// Evaluates the test images in file order; `each` sees the indices of every batch while its logits
/// can still be read.
///
/// # Errors
/// When the device fails or `each` does.
pub fn test(
    session: &mut Session,
    count: usize,
    config: &TrainConfig,
    mut each: impl FnMut(&mut Session, &[u32]) -> Result<()>,
) -> Result<Sums> {
    let order: Vec<u32> = (0..count as u32).collect();
    let mut sums = Sums::default();
    let mut queued = Vec::new();
    let micro = config.batch.micro_batch.and_then(MicroBatch::examples);
    let batches = batches(&order, config.batch.batch_size, config.limit.limit_batches);
    let mut todo = batches.flat_map(|batch| passes(batch, micro)).peekable();
    while let Some(batch) = todo.next() {
        session.step(Part::Test, batch)?;
        each(session, batch)?;
        queued.push(batch.len());
        if queued.len() >= READ_AFTER || todo.peek().is_none() {
            for (result, examples) in session.results()?.into_iter().zip(queued.drain(..)) {
                sums.add(result, examples);
            }
        }
    }
    Ok(sums)
}
