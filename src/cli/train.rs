//! `resnet train`: trains, tests after every epoch, saves checkpoints, resumes.
use super::hardware;
use super::status::{INTERRUPTED, Status};
use crate::config::{self, Given, Layer, MicroBatch, TrainConfig};
use crate::data::{self, Dataset};
use crate::model::{Arch, initialise};
use crate::report::{Console, Progress, mib};
use crate::train::checkpoint::{self, WeightsInfo};
use crate::train::{
    Optimizer, Outcome, Run, Session, SessionSpec, StepPlans, folder, micro_batch,
    refused_to_resume,
};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const EXAMPLES: &str = "Examples:
  resnet train                             the chapter's run: 10 epochs at 96×96, lr 0.05
  resnet train --epochs 1 --image-size 28  minutes instead of hours on a CPU
  resnet train --data sample --limit-batches 2   runs anywhere at once
  resnet train --micro-batch auto          a step in parts where the memory is too small for the batch
  resnet train --resume runs/001 --epochs 20     goes on with a run";

/// Arguments of `resnet train`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: Given<TrainConfig>,
    /// TOML file with the same settings as the flags, which beat it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Goes on with the run in this folder, with the same bits as if it had never stopped.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "init", "out"])]
    resume: Option<PathBuf>,
    /// Starts from the weights in this safetensors file, with PyTorch's names and layouts.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// One JSON object per line on stdout: steps, epochs and the end.
    #[arg(long)]
    json: bool,
}

/// Trains.
///
/// # Errors
/// When a setting, file or device is not usable, or the loss diverges.
pub fn run(args: Args) -> Result<Status> {
    let given = args.settings.layers();
    let mut config = match &args.resume {
        Some(run) => config::resume(folder::settings(run)?, given)?.config,
        None => {
            let file = args.config.as_deref().map(Layer::file).transpose()?;
            let layers: Vec<Layer> = file.into_iter().chain(given.iter().cloned()).collect();
            config::resolve(&layers)?.config
        }
    };
    config.check_training()?;
    let data = data::load(config.data.data.as_deref())?;
    for note in &data.notes {
        eprintln!("{note}");
    }
    let mut backend = hardware::open(&config.hardware)?;
    let mut spec = spec(&config, &data);
    spec.micro_batch = micro_batch(config.batch.micro_batch, &spec, &data, backend.as_ref())?;
    config.batch.micro_batch = spec.micro_batch.map(MicroBatch::Examples);
    let mut prepared = StepPlans::new(&spec, &data, backend.limits())?;
    eprintln!(
        "{}: {} planned on {}",
        data.name,
        mib(prepared.memory()),
        backend.device()
    );
    if let Some(micro) = spec.micro_batch.filter(|micro| *micro < spec.batch_size) {
        eprintln!(
            "a step of {} examples is done in passes of {micro}",
            spec.batch_size
        );
    }
    if let Err(refusal) = prepared.check_memory(&spec, &data, backend.as_ref()) {
        let Some(run) = &args.resume else {
            return Err(refusal);
        };
        let weights = checkpoint::weights_in(&checkpoint::latest(run)?);
        return Err(refused_to_resume(&refusal, &weights));
    }
    // A run that goes on, or begins with the tilings of another, has its own.
    if args.resume.is_none() && !config.hardware.deterministic && config.tilings.is_empty() {
        let note = prepared.tune(&mut spec, &data, backend.as_mut())?;
        note.iter().for_each(|note| eprintln!("{note}"));
        config.tilings = spec.tilings.clone();
    }
    let mut session = Session::open(prepared, &data, backend)?;

    let interrupted = stop_on_signal()?;
    let (run_folder, mut progress) = match &args.resume {
        Some(run) => (
            run.clone(),
            checkpoint::load(&mut session, &checkpoint::latest(run)?)?,
        ),
        None => {
            start(&mut session, config.run.seed, args.init.as_deref())?;
            (
                folder::create(config.run.out.as_deref())?,
                Progress::default(),
            )
        }
    };
    folder::write_config(&run_folder, &config)?;
    let info = WeightsInfo {
        arch: spec.arch,
        image_size: spec.image_size,
        classes: data.classes.clone(),
    };
    let run = Run {
        config: &config,
        folder: &run_folder,
        info: &info,
        train_count: data.train.count,
        test_count: data.test.count,
        interrupted: &interrupted,
    };
    let mut console = Console::new(args.json, config.run.epochs);
    match run.train(&mut session, &mut progress, &mut console)? {
        Outcome::Finished => {
            console.end(&progress, session.backend().device())?;
            eprintln!("run saved in {}", run_folder.display());
            Ok(Status::Done)
        }
        Outcome::Interrupted => {
            eprintln!("stopped at step {} and saved; go on with", progress.step);
            eprintln!("  resnet train --resume {}", run_folder.display());
            Ok(Status::Interrupted)
        }
    }
}

fn spec(config: &TrainConfig, data: &Dataset) -> SessionSpec {
    SessionSpec {
        arch: Arch::resnet18_d2l(data.train.channels, data.classes.len()),
        batch_size: config.batch.batch_size,
        micro_batch: None,
        image_size: config.model.image_size,
        limit_batches: config.limit.limit_batches,
        optimizer: Some(Optimizer {
            momentum: config.optim.momentum,
            nesterov: config.optim.nesterov,
            weight_decay: config.optim.weight_decay,
        }),
        fuse: config.hardware.fuse,
        stored: config.hardware.precision.stored(),
        tilings: config.tilings.clone(),
    }
}

/// Gives the parameters their first values.
fn start(session: &mut Session, seed: u64, init: Option<&Path>) -> Result<()> {
    if let Some(weights) = init {
        return checkpoint::load_weights(session, weights);
    }
    for (tensor, values) in initialise(session.params(), seed) {
        session.write(tensor, &values)?;
    }
    Ok(())
}

/// The first signal asks for a stop after the step at work, the second stops at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            exit(i32::from(INTERRUPTED));
        }
        eprintln!("finishing the step and saving; once more to stop at once");
    })
    .context("installing the handler for Ctrl-C")?;
    Ok(stop)
}
