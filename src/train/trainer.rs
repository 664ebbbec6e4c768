//! A training run from its settings to its end. What can be refused is refused before a device is opened, planned
//! for, tuned or compiled for.
use super::batching::Batching;
use super::checkpoint::{self, WeightsFile};
use super::event::{Event, Observer, tell};
use super::folder;
use super::info::WeightsInfo;
use super::optim::{Optimizer, Schedule};
use super::progress::Progress;
use super::resume::Resumed;
use super::run::{Outcome, Run};
use super::session::Session;
use super::step_plans::{Program, SessionSpec, StepPlans, joins};
use crate::backend::Backend;
use crate::config::{MicroBatch, Preprocessing, TrainConfig, Usage};
use crate::data::{Divided, ImageSource, Preprocess, Sampler, Split, shared};
use crate::model::{Arch, Param, describe, initialise, zero_residuals, zoo};
use crate::process::{command, quoted};
use anyhow::{Context, Error, Result, anyhow, ensure};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What a run begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// Initial values that the seed decides.
    Fresh,
    /// The weights in this safetensors file, with PyTorch's names and layouts.
    Weights(PathBuf),
    /// The same but for the linear layer, which begins with initial values.
    Body(PathBuf),
    /// The newest checkpoint of the run in this folder, which goes on.
    Resume(PathBuf),
}

/// A run that may begin: its settings, data and files fit each other.
pub struct Trainer {
    pub(super) config: TrainConfig,
    info: WeightsInfo,
    pub(super) data: Arc<dyn ImageSource>,
    beginning: Beginning,
}

/// What a run begins with, once it is known to be usable.
enum Beginning {
    Fresh,
    Weights(PathBuf),
    Body(PathBuf),
    Resume(Resumed),
}

impl Trainer {
    /// Checks all that needs no device.
    ///
    /// # Errors
    /// When so many images cannot be held out, the network does not fit the images or their classes, the folder of a
    /// new run is taken or cannot be written, another process trains the run that is to go on, or what the run begins
    /// with is not there, damaged or of another network.
    pub fn new(
        config: TrainConfig,
        arch: Arch,
        data: Arc<dyn ImageSource>,
        start: Start,
    ) -> Result<Trainer> {
        let trainer = Trainer::without_folder(config, arch, data, start)?;
        let (name, split) = (&trainer.data.info().name, trainer.data.evaluated());
        if trainer.data.len(split) == 0 {
            return Err(Usage::error(format!(
                "{name} has neither validation nor test images: hold some of those to train on out by --val-split 0.1, or \
                 put some into folders called val or test"
            )));
        }
        if !matches!(trainer.beginning, Beginning::Resume(_)) {
            folder::check(&trainer.config)?;
        }
        Ok(trainer)
    }

    /// The same where nothing is to be written: see [`Trainer::find_lr`].
    ///
    /// # Errors
    /// As [`Trainer::new`], but for the folder.
    pub fn without_folder(
        config: TrainConfig,
        arch: Arch,
        data: Arc<dyn ImageSource>,
        start: Start,
    ) -> Result<Trainer> {
        let data = divided(&config, data).map_err(Usage::error)?;
        let preprocess = Preprocess {
            fit: data.info().fit,
            ..config.preprocessing.preprocess(config.model.image_size)
        };
        Preprocessing::check(&preprocess, data.info().channels)?;
        config.augment.check(preprocess.size)?;
        let info = WeightsInfo::new(arch, preprocess, data.info().classes.clone());
        info.check_data("the network", data.info())?;
        // A resumed run goes on as it was.
        if !matches!(start, Start::Resume(_)) {
            let fresh = start == Start::Fresh;
            let fits = info.arch.check_image(info.preprocess.size, fresh);
            let or_others = |why: Error| match fresh {
                true => why,
                false => anyhow!("{why}, or other weights by --init"),
            };
            fits.map_err(|why| Usage::error(or_others(why)))?;
        }
        let frozen = config.optim.freeze.unwrap_or_default();
        frozen.check(&info.arch).map_err(Usage::error)?;
        let params = params(&info)?;
        let beginning = match start {
            Start::Fresh => Beginning::Fresh,
            Start::Weights(file) => {
                WeightsFile::read(&file)?.check(&params)?;
                Beginning::Weights(file)
            }
            Start::Body(file) => {
                WeightsFile::read(&file)?.check_body(&params)?;
                Beginning::Body(file)
            }
            Start::Resume(run) => {
                let resumed = Resumed::open(&run, &info, &params, config.run.keep)?;
                let batching = Batching {
                    size: config.batch.batch_size,
                    limit: config.limit.limit_batches,
                    joins: joins(&info.arch, info.preprocess.size),
                };
                resumed.check(&config, batching, data.len(Split::Train))?;
                Beginning::Resume(resumed)
            }
        };
        Ok(Trainer {
            config,
            info,
            data,
            beginning,
        })
    }

    /// The images, as they are divided into those to train on and those to validate on.
    pub fn data(&self) -> Arc<dyn ImageSource> {
        self.data.clone()
    }

    /// What people should know before it begins.
    pub fn notes(&self) -> Vec<String> {
        let damaged = match &self.beginning {
            Beginning::Resume(resumed) => resumed.note.clone(),
            Beginning::Fresh | Beginning::Weights(_) | Beginning::Body(_) => None,
        };
        let overfit = self.config.training.overfit.map(|batches| {
            format!(
                "--overfit {batches}: trains on {} images, which are the validation images too",
                self.data.len(Split::Train)
            )
        });
        let shared = match self.config.training.overfit {
            None => shared(&*self.data),
            Some(_) => 0,
        };
        let shared = (shared > 0).then(|| {
            format!(
                "{shared} of the images to evaluate on are training images too, level by level: the accuracy will be too \
                 good"
            )
        });
        let constant = Schedule::from(&self.config.rate).falls_after(self.config.run.epochs);
        let notes = damaged.into_iter().chain(overfit).chain(shared);
        notes.chain(constant).collect()
    }

    /// Whether a resumed run has nothing left to do: all epochs are done, and the test images were looked at. The
    /// observers are told if that is so.
    ///
    /// # Errors
    /// When one of them fails, or the run's events cannot be read.
    pub fn is_finished(&self, observers: &mut [Box<dyn Observer>]) -> Result<bool> {
        let Beginning::Resume(Resumed {
            folder, progress, ..
        }) = &self.beginning
        else {
            return Ok(false);
        };
        let config = &self.config;
        if progress.epoch < config.run.epochs && !progress.is_stalled(config.run.patience) {
            return Ok(false);
        }
        // Where epochs were compared on validation images, the test images come after the last of them.
        let tested = progress
            .history
            .last()
            .is_some_and(|epoch| epoch.test_acc.is_some());
        if !tested && !folder::has_ended(folder, progress.step)? {
            return Ok(false);
        }
        let event = Event::AlreadyFinished {
            folder,
            config,
            progress,
        };
        tell(observers, &event)?;
        Ok(true)
    }

    /// Plans, tunes, compiles and trains, and tells the observers of it. Once `stop` is set it saves and ends after
    /// the step at work.
    ///
    /// # Errors
    /// When the device is too small, or the device, the disk or an observer fails, or the loss is no longer finite.
    /// Checkpoints stay; without one nothing is left that stands in the way of a new run.
    pub fn run(
        mut self,
        mut backend: Box<dyn Backend>,
        observers: &mut [Box<dyn Observer>],
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let begun = Instant::now();
        let plans = self.plan(backend.as_mut(), observers)?;
        let mut session = Session::open(plans, self.data.clone(), backend)?;
        let progress = self.begin(&mut session)?;
        let (folder, lock) = match self.beginning {
            Beginning::Resume(Resumed { folder, lock, .. }) => (folder, lock),
            Beginning::Fresh | Beginning::Weights(_) | Beginning::Body(_) => {
                folder::create(&self.config)?
            }
        };
        let max_time = self.config.run.max_time;
        let run = Run {
            config: &self.config,
            folder: &folder,
            info: &self.info,
            session: &mut session,
            progress,
            observers,
            stop,
            // A time beyond what the clock can say never comes.
            deadline: max_time.and_then(|time| begun.checked_add(time.duration())),
            saved: Instant::now(),
        };
        let outcome = folder::write_config(&folder, &self.config).and_then(|()| run.train());
        if let Err(error) = &outcome {
            // The failure itself is what people are to hear of.
            let _ = tell(observers, &Event::Failed { error });
            folder::clear_failed(&folder, lock);
        }
        outcome
    }

    /// Plans and tunes for the device; what that decides becomes part of the settings.
    pub(super) fn plan(
        &mut self,
        backend: &mut dyn Backend,
        observers: &mut [Box<dyn Observer>],
    ) -> Result<StepPlans> {
        let config = &mut self.config;
        let spec = SessionSpec {
            optimizer: Some(Optimizer::from(&config.optim)),
            augmentation: config.augment.by(config.random.seed),
            ..SessionSpec::evaluating(config, &self.info)
        };
        let (feed, micro_batch) = (config.feeding.feed, config.batch.micro_batch);
        let planned = StepPlans::fitting(spec, feed, micro_batch, &*self.data, backend);
        let mut plans = match (&self.beginning, planned) {
            (Beginning::Resume(resumed), Err(refusal)) => {
                return Err(refused_to_resume(&refusal, &resumed.checkpoint));
            }
            (_, planned) => planned?,
        };
        let batch = plans.spec().batch_size;
        let micro_batch = plans.spec().micro_batch;
        config.batch.micro_batch = micro_batch.map(MicroBatch::Examples);
        let of_step = plans.runs(Program::Train);
        tell(
            observers,
            &Event::Planned {
                network: &zoo::title(&self.info.arch),
                data: &self.data.info().name,
                device: backend.device(),
                memory: plans.memory(),
                dispatches: of_step.iter().map(|plan| plan.dispatches.len()).sum(),
                flops: of_step.iter().map(|plan| plan.flops()).sum(),
                batch,
                micro_batch: micro_batch.filter(|micro| *micro < batch),
            },
        )?;
        // A run that goes on, or begins with the tilings of another, has its own.
        let resumed = matches!(self.beginning, Beginning::Resume(_));
        if !resumed && !config.hardware.deterministic && config.tilings.is_empty() {
            if let Some(note) = plans.tune(&*self.data, backend)? {
                tell(observers, &Event::Tuned { note: &note })?;
            }
            config.tilings = plans.spec().tilings.clone();
        }
        Ok(plans)
    }

    /// Gives the parameters and the optimiser's states their first values.
    ///
    /// Nothing is trained for which there would be no memory to save it.
    pub(super) fn begin(&self, session: &mut Session) -> Result<Progress> {
        checkpoint::ensure_room(session)?;
        match &self.beginning {
            Beginning::Fresh => {
                let mut values = initialise(session.params(), self.config.random.seed);
                if self.config.network.zero_init_residual {
                    zero_residuals(self.info.arch.block, session.params(), &mut values);
                }
                for (tensor, values) in values {
                    session.write(tensor, &values)?;
                }
            }
            Beginning::Weights(file) => WeightsFile::read(file)?.load(session)?,
            Beginning::Body(file) => {
                let params = session.params().to_vec();
                let initial = initialise(&params, self.config.random.seed);
                let heads = params.iter().zip(initial);
                for (_, (tensor, values)) in heads.filter(|(param, _)| param.is_of_head()) {
                    session.write(tensor, &values)?;
                }
                WeightsFile::read(file)?.load_body(session)?;
            }
            Beginning::Resume(resumed) => return checkpoint::load(session, &resumed.checkpoint),
        }
        Ok(Progress::default())
    }
}

/// The images as the settings divide them into those to train on and those to validate on.
///
/// # Errors
/// When so many images cannot be held out, or the data have validation images of their own.
pub fn divided(config: &TrainConfig, data: Arc<dyn ImageSource>) -> Result<Arc<dyn ImageSource>> {
    let (training, random) = (&config.training, &config.random);
    if let Some(split) = training.val_split {
        let own = data.len(Split::Validation);
        ensure!(
            own == 0,
            "--val-split {split}: {} has {own} validation images of its own: leave it out",
            data.info().name
        );
        let count = split.of(data.len(Split::Train));
        return Ok(Arc::new(Divided::held_out(data, count, random.seed)?));
    }
    if let Some(count) = training.overfit {
        let order = Sampler::new(random.seed, random.shuffle);
        let batch_size = config.batch.batch_size;
        return Ok(Arc::new(Divided::overfit(data, count, batch_size, order)?));
    }
    Ok(data)
}

/// The parameters of a network on images of its size.
fn params(info: &WeightsInfo) -> Result<Vec<Param>> {
    let size = info.preprocess.size;
    let (_, network) = describe(&info.arch, 1, size)
        .with_context(|| format!("images of {size}×{size} do not fit the network"))?;
    Ok(network.params)
}

/// The refusal of a run that is resumed, which keeps the settings that the refusal advises to change.
fn refused_to_resume(refusal: &Error, checkpoint: &Path) -> Error {
    anyhow!(
        "{refusal:#}\na resumed run keeps its settings: free memory of the device, resume on another one with --device, \
         or start a new run with other settings from its weights:\n  {} {}",
        command("train --init"),
        quoted(&checkpoint::weights_in(checkpoint))
    )
}
