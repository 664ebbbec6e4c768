//! How far a run has come: what a checkpoint stores, and what observers are told.
use crate::data::Split;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Where a run stands. Together with the configuration, the weights and the optimiser's states it
/// decides every bit of what follows.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch at work, from 0; equals the length of the history.
    pub epoch: usize,
    /// Batches of this epoch that are done. The order of the examples follows from seed and epoch.
    pub batch: usize,
    /// Optimiser steps of the whole run.
    pub step: u64,
    /// What this epoch's steps measured so far.
    pub sums: Sums,
    /// Examples trained in the whole run.
    pub examples: u64,
    /// Batches that BatchNorm has seen in the whole run: a step has as many as micro-batches. `None` in the states of
    /// earlier programs.
    #[serde(default)]
    pub passes: Option<u64>,
    /// Seconds spent on training steps in the whole run.
    pub seconds: f64,
    /// The finished epochs.
    pub history: Vec<EpochResult>,
}

/// What a step measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepResult {
    /// Mean loss of the batch, before the update.
    pub loss: f32,
    /// Right answers among its examples.
    pub correct: u32,
}

/// Sums over examples.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Sum of the examples' losses.
    pub loss: f64,
    /// Right answers.
    pub correct: u64,
    /// Examples.
    pub examples: u64,
}

/// A finished epoch: a row of `metrics.csv`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EpochResult {
    /// From 1.
    pub epoch: usize,
    /// Optimiser steps up to its end.
    pub step: u64,
    /// Mean loss over the epoch's examples, each before its step.
    pub train_loss: f64,
    /// Share of right answers among them.
    pub train_acc: f64,
    /// Mean loss on the validation images after the epoch, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Share of right answers on the validation images after the epoch, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_acc: Option<f64>,
    /// Mean loss on the test images after the epoch, where there are no validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Share of right answers on the test images after the epoch, where there are no validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_acc: Option<f64>,
    /// Training examples per second of training steps, of the run up to here.
    pub examples_per_second: f64,
    /// Learning rate of the epoch's last step; `None` in the states of earlier programs.
    #[serde(default)]
    pub lr: Option<f32>,
}

impl Sums {
    /// Adds a batch.
    pub fn add(&mut self, result: StepResult, examples: usize) {
        self.loss += f64::from(result.loss) * examples as f64;
        self.correct += u64::from(result.correct);
        self.examples += examples as u64;
    }

    /// Mean loss.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.examples as f64
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.examples as f64
    }
}

impl Progress {
    /// The epoch that the run is in, from 1: the one at work, or where none is the last one.
    pub fn in_epoch(&self) -> usize {
        self.epoch + usize::from(self.batch > 0)
    }

    /// Training examples per second of training steps so far.
    pub fn examples_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.examples as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// Ends the epoch at work with what the evaluation of a split measured, of the validation images if there are any
    /// and else of the test images. `lr` is the learning rate of its last step.
    pub fn finish_epoch(&mut self, split: Split, evaluated: &Sums, lr: f32) {
        let of = |which: Split, value: f64| (which == split).then_some(value);
        let (loss, acc) = (evaluated.mean_loss(), evaluated.accuracy());
        self.epoch += 1;
        self.history.push(EpochResult {
            epoch: self.epoch,
            step: self.step,
            train_loss: self.sums.mean_loss(),
            train_acc: self.sums.accuracy(),
            val_loss: of(Split::Validation, loss),
            val_acc: of(Split::Validation, acc),
            test_loss: of(Split::Test, loss),
            test_acc: of(Split::Test, acc),
            examples_per_second: self.examples_per_second(),
            lr: Some(lr),
        });
        self.batch = 0;
        self.sums = Sums::default();
    }

    /// Refuses what no run can have come to.
    pub(super) fn check(&self) -> Result<()> {
        let Progress {
            epoch, batch, step, ..
        } = *self;
        ensure!(
            epoch == self.history.len(),
            "epoch {epoch} is at work, but {} are finished",
            self.history.len()
        );
        let mut before = 0;
        for (at, epoch) in (1..).zip(&self.history) {
            ensure!(
                epoch.epoch == at && epoch.step > before,
                "epoch {at} is called {} and ends at step {}, after one that ends at step {before}",
                epoch.epoch,
                epoch.step
            );
            before = epoch.step;
        }
        ensure!(
            before.checked_add(batch as u64) == Some(step),
            "it is at step {step}, but its finished epochs end at step {before} and {batch} batches follow"
        );
        ensure!(
            (batch == 0) == (self.sums.examples == 0) && self.sums.examples <= self.examples,
            "{} examples were seen in {batch} batches, and {} in the whole run",
            self.sums.examples,
            self.examples
        );
        ensure!(
            self.sums.correct <= self.sums.examples,
            "{} of {} examples were right",
            self.sums.correct,
            self.sums.examples
        );
        let seconds = self.seconds;
        ensure!(
            seconds.is_finite() && seconds >= 0.0,
            "it took {seconds} seconds"
        );
        Ok(())
    }

    /// The epoch with the best accuracy of those by which epochs are compared, the earliest of equals.
    pub fn best(&self) -> Option<&EpochResult> {
        let acc = |epoch: &EpochResult| epoch.val_acc.or(epoch.test_acc).unwrap_or(0.0);
        let epochs = self.history.iter().rev();
        epochs.max_by(|a, b| acc(a).total_cmp(&acc(b)))
    }

    /// Whether so many epochs were finished since the best one.
    pub fn is_stalled(&self, patience: Option<usize>) -> bool {
        let since = self.best().map(|best| self.epoch - best.epoch);
        since
            .zip(patience)
            .is_some_and(|(since, patience)| since >= patience)
    }

    /// The step after that epoch.
    pub fn best_step(&self) -> Option<u64> {
        self.best().map(|epoch| epoch.step)
    }
}
