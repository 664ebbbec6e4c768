//! The loop over epochs: training, evaluation, checkpoints, and what stops it early.
use super::checkpoint::{self, WeightsFile};
use super::evaluation::evaluate_unless;
use super::event::{Cause, Event, Observer, Unheard, tell};
use super::info::WeightsInfo;
use super::progress::{Progress, Sums};
use super::session::Session;
use crate::config::{self, TrainConfig};
use crate::data::Split;
use crate::process::one_line;
use anyhow::{Result, anyhow};
use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All epochs are done, or as many as its patience allows.
    Finished,
    /// It stopped before; a checkpoint holds the place.
    Interrupted(Cause),
}

/// What is not finite any more.
#[derive(Debug)]
pub(super) enum NotFinite {
    /// The loss of a training step.
    Step(f32),
    /// The mean loss of an evaluation.
    Evaluated(Split, f64),
    /// A value of this parameter, or of the statistics of a BatchNorm.
    Param(String),
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            NotFinite::Step(loss) => write!(f, "the training loss is {loss}"),
            NotFinite::Evaluated(split, loss) => {
                write!(f, "the loss on the {} images is {loss}", split.name())
            }
            NotFinite::Param(name) => write!(f, "{name} is no longer finite"),
        }
    }
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
                return Err(self.diverged(NotFinite::Evaluated(split, loss)));
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
                one_line(folder)
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
    /// that of the best one, which is looked at only now. There may be no test images.
    fn test(&mut self) -> Result<ControlFlow<Cause, Option<f64>>> {
        let last = self.progress.history.last();
        let known = last.and_then(|epoch| epoch.test_acc);
        if known.is_some() || self.session.len(Split::Test) == 0 {
            return Ok(Continue(known));
        }
        let best = checkpoint::best_of(self.folder, &self.progress)?;
        WeightsFile::read(&checkpoint::weights_in(&best))?.load(self.session)?;
        match self.evaluate(Split::Test)? {
            Break(cause) => Ok(Break(cause)),
            Continue((evaluated, heard)) => {
                heard?;
                Ok(Continue(Some(evaluated.accuracy())))
            }
        }
    }

    /// A checkpoint of where the run stands, of which the observers are told.
    pub(super) fn save(&mut self) -> Result<()> {
        let heard = tell(self.observers, &Event::Saving);
        let checkpoint = &self.write()?;
        heard?;
        tell(self.observers, &Event::Saved { checkpoint })
    }

    /// Only of finite weights, with which the run can go on.
    fn write(&mut self) -> Result<PathBuf> {
        let broken = self.session.not_finite();
        if let Some(param) = broken.map_err(|error| self.stopped(error))? {
            return Err(self.diverged(NotFinite::Param(param)));
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
}

/// Why a run is to stop now, if it is.
pub(super) fn cause(stop: &AtomicBool, deadline: Option<Instant>) -> Option<Cause> {
    if stop.load(Ordering::Relaxed) {
        return Some(Cause::Asked);
    }
    let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    over.then_some(Cause::MaxTime)
}
