//! What a run tells while it works. The loop prints nothing: whoever wants to know is an [`Observer`].
use super::progress::{EpochResult, Progress, StepResult};
use crate::config::TrainConfig;
use crate::data::Split;
use anyhow::{Error, Result};
use std::fmt;
use std::path::Path;

/// Something that happened, in the order in which a run tells of it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The steps are planned and fit the device. Nothing is allocated yet.
    Planned {
        /// The network, in a line.
        network: &'a str,
        /// The data set.
        data: &'a str,
        /// The device.
        device: &'a str,
        /// Bytes that the session will take.
        memory: u64,
        /// Dispatches of a step.
        dispatches: usize,
        /// Floating-point operations of a step.
        flops: u64,
        /// Examples per step.
        batch: usize,
        /// Examples per micro-batch, where a step has several.
        micro_batch: Option<usize>,
    },
    /// The convolutions are tuned.
    Tuned {
        /// What was done, for people.
        note: &'a str,
    },
    /// Everything is compiled and the run has its folder: training begins, or goes on from where the progress
    /// stands.
    Started {
        /// The run's folder.
        folder: &'a Path,
        /// The resolved settings.
        config: &'a TrainConfig,
        /// Where the run stands.
        progress: &'a Progress,
    },
    /// An epoch begins, or goes on.
    Epoch {
        /// Where the run stands.
        progress: &'a Progress,
        /// Steps of the whole epoch.
        steps: usize,
    },
    /// A step was measured, some time after it was done.
    Step {
        /// Where the run stands, this step included.
        progress: &'a Progress,
        /// What was measured.
        result: StepResult,
        /// Its learning rate.
        lr: f32,
    },
    /// Some images were evaluated after the steps so far, in the order of their split.
    Answers {
        /// Whose images they are.
        split: Split,
        /// Their indices.
        examples: &'a [u32],
        /// Their true classes.
        labels: &'a [u32],
        /// What the network says of them, `[examples, classes]`.
        logits: &'a [f32],
    },
    /// A checkpoint is about to be written. What must not be behind it on the disk is made durable now.
    Saving,
    /// A checkpoint is on the disk.
    Saved {
        /// Its folder.
        checkpoint: &'a Path,
    },
    /// An epoch is done, evaluated and saved.
    Evaluated {
        /// The run's folder.
        folder: &'a Path,
        /// Where the run stands; its history ends with this epoch.
        progress: &'a Progress,
        /// The epoch.
        epoch: &'a EpochResult,
    },
    /// All epochs are done.
    Finished {
        /// The run's folder.
        folder: &'a Path,
        /// Where the run stands.
        progress: &'a Progress,
        /// The share of right answers on the test images: of the best epoch where epochs were compared on validation
        /// images, else of the last one. There may be no test images.
        test_acc: Option<f64>,
        /// The device.
        device: &'a str,
    },
    /// A run that was to go on had done all its epochs before. Nothing else is told of it.
    AlreadyFinished {
        /// The run's folder.
        folder: &'a Path,
        /// The resolved settings.
        config: &'a TrainConfig,
        /// Where the run stands.
        progress: &'a Progress,
    },
    /// The run stopped before its end; a checkpoint holds the place.
    Interrupted {
        /// The run's folder.
        folder: &'a Path,
        /// Where the run stands.
        progress: &'a Progress,
        /// Why it stopped.
        cause: Cause,
    },
    /// The run has its folder and failed. Without a checkpoint the folder is removed then.
    Failed {
        /// Why.
        error: &'a Error,
    },
}

impl<'a> Event<'a> {
    /// The run's folder and its finished epochs, where files that show them are to be brought up to date: they may have
    /// fallen behind a checkpoint, or be ahead of it. None before the first epoch.
    pub fn history(&self) -> Option<(&'a Path, &'a [EpochResult])> {
        let (Event::Started {
            folder, progress, ..
        }
        | Event::Evaluated {
            folder, progress, ..
        }
        | Event::AlreadyFinished {
            folder, progress, ..
        }) = *self
        else {
            return None;
        };
        let epochs = &progress.history[..];
        (!epochs.is_empty()).then_some((folder, epochs))
    }
}

/// Why a run stops before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It was asked to, by a signal.
    Asked,
    /// Its `max_time` is over.
    MaxTime,
}

/// Someone who is told of a run.
pub trait Observer {
    /// Takes note of an event.
    ///
    /// # Errors
    /// When it cannot be passed on, which ends the run after a checkpoint.
    fn on(&mut self, event: &Event) -> Result<()>;
}

/// Why an observer could not take note of an event. The run itself could go on.
#[derive(Debug)]
pub(super) struct Unheard(String);

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unheard {}

/// Tells all of them, in their order.
///
/// # Errors
/// [`Unheard`], from the first that fails; the others are told.
pub(super) fn tell(observers: &mut [Box<dyn Observer>], event: &Event) -> Result<()> {
    let told = observers.iter_mut().map(|observer| observer.on(event));
    let told = told.fold(Ok(()), Result::and);
    told.map_err(|error| Unheard(format!("{error:#}")).into())
}
