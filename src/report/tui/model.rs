//! What the view shows: where the run stands, its curves so far, and the newest evaluation.
use crate::process::one_line;
use crate::report::pace::Meter;
use crate::report::tally::{Gather, Tally};
use crate::train::{EpochResult, Event, Progress, Sums};
use std::time::{Duration, Instant};

/// Points of the training's curves in an epoch, as the chapter's animator has them.
const PER_EPOCH: usize = 5;

/// Classes at most whose confusion is gathered: what a large terminal shows.
const MOST_CLASSES: usize = 40;

/// A curve: what it shows, and its points over epochs.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    pub points: Vec<(f64, f64)>,
    /// Its end, which moves with every step.
    pub live: Option<(f64, f64)>,
}

impl Curve {
    /// All points from left to right.
    pub fn all(&self) -> Vec<(f64, f64)> {
        self.points.iter().copied().chain(self.live).collect()
    }

    /// Its newest value.
    pub fn newest(&self) -> Option<f64> {
        self.live
            .or(self.points.last().copied())
            .map(|(_, value)| value)
    }
}

/// All of it.
pub struct Model {
    pub network: String,
    pub data: String,
    pub device: String,
    /// Bytes that were planned on the device.
    pub memory: u64,
    pub folder: String,
    pub meter: Meter,
    /// The epoch at work, from 0, and its steps that are done.
    pub epoch: usize,
    pub batch: usize,
    pub sums: Sums,
    pub lr: f32,
    /// The time that is left of the epoch's steps and of the run.
    pub left: [Option<Duration>; 2],
    pub train_loss: Curve,
    pub train_acc: Curve,
    /// On the images by which epochs are compared.
    pub eval_acc: Curve,
    /// Whether those are validation images.
    pub held_out: bool,
    gather: Option<Gather>,
}

impl Model {
    /// Of a run that tells these classes apart, of which nothing was told yet.
    pub fn new(classes: Vec<String>, now: Instant) -> Model {
        let few = classes.len() <= MOST_CLASSES;
        Model {
            network: String::new(),
            data: String::new(),
            device: String::new(),
            memory: 0,
            folder: String::new(),
            meter: Meter::new(now),
            epoch: 0,
            batch: 0,
            sums: Sums::default(),
            lr: 0.0,
            left: [None; 2],
            train_loss: Curve::default(),
            train_acc: Curve::default(),
            eval_acc: Curve::default(),
            held_out: false,
            gather: few.then(|| Gather::new(classes)),
        }
    }

    /// The newest evaluation, as far as it has come.
    pub fn tally(&self) -> Option<&Tally> {
        self.gather.as_ref().and_then(Gather::tally)
    }

    /// Takes note of what is told now.
    pub fn event(&mut self, event: &Event, now: Instant) {
        self.meter.event(event, now);
        match event {
            Event::Planned {
                network,
                data,
                device,
                memory,
                ..
            } => {
                self.network = network.to_string();
                self.data = data.to_string();
                self.device = device.to_string();
                self.memory = *memory;
            }
            Event::Started {
                folder,
                config,
                progress,
            } => {
                self.folder = one_line(folder);
                let training = &config.training;
                self.held_out = training.val_split.is_some() || training.overfit.is_some();
                self.stands(progress);
                for epoch in &progress.history {
                    self.epoch_of_the_past(epoch);
                }
            }
            Event::Epoch { progress, .. } => self.stands(progress),
            Event::Step { progress, lr, .. } => {
                self.lr = *lr;
                self.stands(progress);
                self.step();
            }
            Event::Answers { .. } => {
                if let Some(gather) = &mut self.gather {
                    gather.event(event);
                }
            }
            Event::Evaluated {
                epoch, progress, ..
            } => {
                self.stands(progress);
                self.evaluated(epoch);
            }
            _ => {}
        }
    }

    fn stands(&mut self, progress: &Progress) {
        (self.epoch, self.batch) = (progress.epoch, progress.batch);
        self.left = self.meter.left(progress);
        // Between two epochs the last one's are shown.
        if progress.sums.examples > 0 {
            self.sums = progress.sums;
        }
    }

    fn step(&mut self) {
        let steps = self.meter.steps().max(1);
        let x = self.epoch as f64 + self.batch as f64 / steps as f64;
        let stays = self.batch.is_multiple_of(steps.div_ceil(PER_EPOCH)) || self.batch == steps;
        for (curve, value) in [
            (&mut self.train_loss, self.sums.mean_loss()),
            (&mut self.train_acc, self.sums.accuracy()),
        ] {
            match stays {
                true => {
                    curve.points.push((x, value));
                    curve.live = None;
                }
                false => curve.live = Some((x, value)),
            }
        }
    }

    fn epoch_of_the_past(&mut self, epoch: &EpochResult) {
        let x = epoch.epoch as f64;
        self.train_loss.points.push((x, epoch.train_loss));
        self.train_acc.points.push((x, epoch.train_acc));
        self.evaluated(epoch);
    }

    fn evaluated(&mut self, epoch: &EpochResult) {
        if let Some(acc) = epoch.val_acc.or(epoch.test_acc) {
            self.eval_acc.points.push((epoch.epoch as f64, acc));
        }
    }

    /// What the accuracy is called by which epochs are compared, and in short.
    pub fn compared_on(&self) -> (&'static str, &'static str) {
        match self.held_out {
            true => ("val acc", "val"),
            false => ("test acc", "test"),
        }
    }
}
