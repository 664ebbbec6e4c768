//! The loop over epochs: steps, tests, checkpoints, and what stops it early.
use super::checkpoint::{self, WeightsInfo};
use super::{Part, Session, batches};
use crate::config::TrainConfig;
use crate::data::Sampler;
use crate::report::{Console, Progress, Sums, write_metrics};
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the device is asked for its losses. Asking waits for the steps in flight.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Steps queued at most before the losses are read, well inside the device's log.
const READ_AFTER: usize = 64;

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
        session.set_learning_rate(self.config.lr)?;
        while progress.epoch < self.config.epochs {
            if self.train_epoch(session, progress, console)? == Outcome::Interrupted {
                checkpoint::save(self.folder, session, self.info, progress)?;
                return Ok(Outcome::Interrupted);
            }
            let test = test(session, self.test_count, self.config, |_, _| Ok(()))
                .with_context(|| self.stopped(progress))?;
            let finished = progress.finish_epoch(&test).clone();
            checkpoint::save(self.folder, session, self.info, progress)?;
            write_metrics(self.folder, &progress.history)?;
            console.epoch(&finished)?;
        }
        Ok(Outcome::Finished)
    }

    fn train_epoch(
        &self,
        session: &mut Session,
        progress: &mut Progress,
        console: &mut Console,
    ) -> Result<Outcome> {
        let TrainConfig {
            seed,
            shuffle,
            batch_size,
            limit_batches,
            ..
        } = *self.config;
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
                .with_context(|| self.stopped(progress))?;
            queued.push_back(batch.len());
            let stop = self.interrupted.load(Ordering::Relaxed);
            let due = last_read.elapsed() >= READ_EVERY || queued.len() >= READ_AFTER;
            if due || stop || todo.peek().is_none() {
                let results = session.results().with_context(|| self.stopped(progress))?;
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
            }
        }
        Ok(Outcome::Finished)
    }

    /// What to say when the device failed.
    fn stopped(&self, progress: &Progress) -> String {
        let next = match checkpoint::latest(self.folder) {
            Ok(saved) => format!(
                "{} is saved: go on by `resnet train --resume {}`",
                saved.display(),
                self.folder.display()
            ),
            Err(_) => "there is no checkpoint yet: start anew".to_string(),
        };
        format!("the training stopped after step {}; {next}", progress.step)
    }

    fn diverged(&self, step: u64, loss: f32) -> String {
        let lr = self.config.lr;
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
    let mut todo = batches(&order, config.batch_size, config.limit_batches).peekable();
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
