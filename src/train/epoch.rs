//! The steps of an epoch: queued on the device, measured some time later, and saved within the epoch too.
use super::event::{Cause, Event, tell};
use super::micro;
use super::optim::{Length, Schedule};
use super::progress::Progress;
use super::run::{NotFinite, Run, cause};
use super::session::READ_AFTER;
use super::step_plans::Program;
use crate::config;
use crate::data::{Sampler, Split};
use anyhow::Result;
use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::{Duration, Instant};

/// How often the device is asked for its losses. Asking waits for the steps in flight.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Time between checkpoints within an epoch, unless they are counted in steps. What was trained since the
/// last one is lost with the device.
const SAVE_EVERY: Duration = Duration::from_secs(600);

impl Run<'_> {
    /// The rest of the epoch's steps, unless the run is to stop meanwhile.
    pub(super) fn train_epoch(&mut self) -> Result<ControlFlow<Cause>> {
        let save_every = self.config.run.save_every;
        let config::Random { seed, shuffle } = self.config.random;
        // Batches that are to be overfitted stay the same ones.
        let shuffle = shuffle && self.config.training.overfit.is_none();
        let batching = self.session.spec().batching(true);
        let (epoch, images) = (self.progress.epoch, self.session.len(Split::Train));
        self.session.set_epoch(epoch);
        let order = Sampler::new(seed, shuffle).order(epoch, images);
        let steps = self.steps();
        let mut todo = batching.of(&order).skip(self.progress.batch).peekable();
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
        spec.batching(true).steps(images)
    }

    /// Batches that BatchNorm has seen, as the progress says or, where an earlier program stored it, as follows from the
    /// steps: those of an epoch have whole batches, but for the last.
    fn passes(&self) -> u64 {
        let Progress { epoch, batch, .. } = self.progress;
        let (spec, images) = (self.session.spec(), self.session.len(Split::Train));
        let sizes = spec.batching(true).sizes(images);
        let of_steps = |steps: &[usize]| micro::passes_of(steps, spec.micro_batch);
        let known = self.progress.passes;
        known.unwrap_or_else(|| {
            epoch as u64 * of_steps(&sizes) + of_steps(&sizes[..batch.min(sizes.len())])
        })
    }

    /// The learning rate of a step of the run, from 0.
    pub(super) fn lr(&self, step: u64) -> f32 {
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
                let loss = result.loss;
                return Err(self.diverged(NotFinite::Step(loss)));
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
}
