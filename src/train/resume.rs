//! A run that goes on: it is this process's alone, its newest intact checkpoint is found, and what that says fits the
//! settings and the data.
use super::checkpoint;
use super::info::WeightsInfo;
use super::lock::{self, Lock};
use super::progress::Progress;
use crate::model::Param;
use anyhow::{Context, Error, Result, ensure};
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
                    let shown = checkpoint.display();
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

    /// Refuses to end before where the run stands, and data with fewer steps per epoch than it has done of one.
    ///
    /// # Errors
    /// When that is asked for.
    pub fn check(&self, epochs: usize, steps: usize) -> Result<()> {
        let Progress { epoch, batch, .. } = self.progress;
        ensure!(
            batch <= steps,
            "{} has done {batch} steps of its epoch {}, but these data give {steps} an epoch: resume with the data of \
             the run",
            self.checkpoint.display(),
            epoch + 1
        );
        let begun = epoch + usize::from(batch > 0);
        ensure!(
            begun <= epochs,
            "--epochs {epochs}: {} is in its epoch {begun} already; --epochs {} trains it on",
            self.folder.display(),
            begun.max(epoch + 1)
        );
        Ok(())
    }
}
