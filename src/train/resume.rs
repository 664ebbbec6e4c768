//! A run that goes on: it is this process's alone, its newest intact checkpoint is found, and what that says fits the
//! settings and the data.
use super::batching::Batching;
use super::checkpoint;
use super::folder::CONFIG;
use super::info::WeightsInfo;
use super::lock::{self, Lock};
use super::micro;
use super::progress::Progress;
use crate::config::{MicroBatch, TrainConfig};
use crate::model::Param;
use crate::process::one_line;
use anyhow::{Context, Error, Result, bail, ensure};
use std::io;
use std::path::{Path, PathBuf};

/// Where a run goes on.
pub(super) struct Resumed {
    /// The run's folder.
    pub folder: PathBuf,
    /// Keeps other processes away from it.
    pub lock: Lock,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// How far it had come.
    pub progress: Progress,
    /// What people should know about the choice of the checkpoint.
    pub note: Option<String>,
}

impl Resumed {
    /// Takes the run in a folder and mends what a kill left.
    ///
    /// # Errors
    /// When there is no run, another process has it, or no checkpoint is intact and of this network.
    pub fn open(run: &Path, info: &WeightsInfo, params: &[Param], keep: usize) -> Result<Resumed> {
        // A run that has no checkpoint yet may be at work.
        if run.join(lock::NAME).exists() {
            Lock::take(run)?;
        }
        checkpoint::latest(run)?;
        let lock = Lock::take(run)?;
        checkpoint::recover(run)?;
        let mut damaged: Option<Error> = None;
        for checkpoint in checkpoint::newest_first(run)? {
            let error = match checkpoint::check(&checkpoint, info, params) {
                Ok(progress) => {
                    if damaged.is_none() {
                        checkpoint::prune(run, &progress, keep)?;
                    }
                    let shown = one_line(&checkpoint);
                    let taken = |error| format!("{error:#}; {shown} before it is taken instead");
                    return Ok(Resumed {
                        folder: run.to_path_buf(),
                        lock,
                        note: damaged.map(taken),
                        progress,
                        checkpoint,
                    });
                }
                Err(error) => error,
            };
            // A file that is there and cannot be read may be intact.
            let unread = error.root_cause().downcast_ref::<io::Error>();
            if unread.is_some_and(|error| error.kind() != io::ErrorKind::NotFound) {
                return Err(error);
            }
            damaged.get_or_insert(error);
        }
        Err(damaged.context("the run's checkpoint was removed meanwhile")?)
    }

    /// Refuses to end before where the run stands, and settings or data with which it would not have come there.
    ///
    /// # Errors
    /// When that is asked for.
    pub fn check(&self, config: &TrainConfig, batching: Batching, images: usize) -> Result<()> {
        self.check_position(config, batching, images)?;
        let (epoch, epochs) = (self.progress.epoch, config.run.epochs);
        let begun = self.progress.in_epoch();
        ensure!(
            begun <= epochs,
            "--epochs {epochs}: {} is in its epoch {begun} already; --epochs {} trains it on",
            one_line(&self.folder),
            begun.max(epoch + 1)
        );
        Ok(())
    }

    /// Compares the steps, examples and micro-batches that were counted with those that the settings and the data make
    /// of as many epochs.
    fn check_position(
        &self,
        config: &TrainConfig,
        batching: Batching,
        images: usize,
    ) -> Result<()> {
        let Progress { epoch, batch, .. } = self.progress;
        let micro_batch = config.batch.micro_batch.and_then(MicroBatch::examples);
        let sizes = batching.sizes(images);
        let begun = &sizes[..batch.min(sizes.len())];
        let seen = |steps: &[usize]| steps.iter().sum::<usize>() as u64;
        let passes = |steps: &[usize]| micro::passes_of(steps, micro_batch);
        let total = |of: &dyn Fn(&[usize]) -> u64| epoch as u64 * of(&sizes) + of(begun);
        let counts = [
            (
                "steps",
                self.progress.step,
                total(&|steps| steps.len() as u64),
            ),
            ("examples", self.progress.examples, total(&seen)),
            (
                "micro-batches",
                self.progress.passes.unwrap_or(total(&passes)),
                total(&passes),
            ),
        ];
        let wrong = counts.into_iter().find(|(_, has, want)| has != want);
        if let Some((what, has, want)) = wrong {
            bail!(
                "{} has done {has} {what} in {epoch} epochs and {batch} steps, but with the batch_size, micro_batch, \
                 limit_batches, val_split and overfit of {} and these {images} training images it would be {want}: \
                 resume with the settings and the data of the run",
                one_line(&self.checkpoint),
                one_line(self.folder.join(CONFIG))
            );
        }
        Ok(())
    }
}
