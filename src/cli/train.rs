//! `resnet train`: trains, tests after every epoch, saves checkpoints, resumes.
use super::begin::{self, Beginning};
use super::hardware;
use super::signals::{Signals, Stop};
use super::status::Status;
use crate::config::{self, Given, Source, TrainConfig, Usage};
use crate::process::{self, Talk};
use crate::report::{self, Origin, observers, refused_view};
use crate::train::{Cause, Outcome, Start, Trainer, folder};
use anyhow::Result;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet train                             the chapter's run: 10 epochs at 96×96, lr 0.05
  resnet train --epochs 1 --image-size 28  minutes instead of hours on a CPU
  resnet train --name first                into runs/first
  resnet train --data sample --limit-batches 2   a few seconds on any machine
  resnet train --arch resnet20 --image-size 28   another network; `resnet shapes` tells of it
  resnet train --init model.safetensors --new-head   fine-tunes weights, torchvision's or others
  resnet train --val-split 5000 --patience 3     stops when the validation accuracy no longer rises
  resnet train --data photos --val-split 0.1     a folder of pictures for each class, a tenth held out
  resnet train --max-time 2h --keep 3            saves and stops after two hours; keeps three checkpoints
  resnet train --tui                       curves and confusion as the run goes on
  resnet train --micro-batch auto          gradient accumulation where the batch does not fit
  resnet train --resume runs/first --epochs 20     resumes a run, to 20 epochs";

/// Arguments of `resnet train`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: Given<TrainConfig>,
    /// TOML file of settings. Flags and variables override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Resumes the run in this folder, bit-identical to an uninterrupted one.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "init", "new_head", "name", "out"])]
    resume: Option<PathBuf>,
    /// Shows the run as it goes on, on the whole terminal: curves, confusion, speed, messages. q leaves the view.
    #[arg(long, conflicts_with = "json")]
    tui: bool,
    /// One JSON object per line on stdout: the start, steps, epochs, and how it ended.
    #[arg(long)]
    json: bool,
}

/// Trains.
///
/// # Errors
/// When a setting, file or device is not usable, or the loss diverges.
pub fn run(args: Args) -> Result<Status> {
    let json = args.json;
    let ended = train(args);
    if let (true, Err(error)) = (json, &ended) {
        report::failed(error);
    }
    ended
}

fn train(args: Args) -> Result<Status> {
    if args.tui {
        check_view()?;
    }
    let given = args.settings.layers();
    let resolved = match &args.resume {
        Some(run) => config::resume(folder::settings(run)?, given),
        None => config::from_file(args.config.as_deref(), given),
    };
    let resolved = resolved?;
    resolved.given().iter().for_each(process::detail);
    let of_run = args.resume.as_deref().map(|run| run.join(folder::CONFIG));
    let mut origin = Origin {
        sources: resolved.sources.clone(),
    };
    // What the run's own file says was given when the run began.
    let is_runs =
        |source: &Source| matches!(source, Source::File(file) if Some(file) == of_run.as_ref());
    origin.sources.retain(|_, source| !is_runs(source));
    let start = match args.resume {
        Some(run) => Start::Resume(run),
        None => begin::start(&resolved.config.begin)?,
    };
    let Beginning {
        config,
        arch,
        data,
        start,
    } = begin::with(resolved, start)?;
    let hardware = config.hardware.clone();
    let trainer = Trainer::new(config, arch, data, start)?;
    let stop = Stop::default();
    let view = args.tui.then(|| stop.presser());
    let mut observers = observers(args.json, view, origin, trainer.data());
    for note in trainer.notes() {
        process::say(note);
    }
    if trainer.is_finished(&mut observers)? {
        return Ok(Status::Done);
    }
    let backend = hardware::open(&hardware)?;
    // First, since another may wait for its reader.
    observers.insert(0, Box::new(Signals(stop.clone())));
    match trainer.run(backend, &mut observers, &stop.asked)? {
        Outcome::Finished => Ok(Status::Done),
        Outcome::Interrupted(Cause::MaxTime) => Ok(Status::Done),
        Outcome::Interrupted(Cause::Asked) => Ok(Status::Interrupted(stop.code())),
    }
}

/// Refuses a live view that nobody would see.
fn check_view() -> Result<()> {
    let why = match process::tells(Talk::Notes) {
        true => refused_view(),
        false => Some("-q wants no progress"),
    };
    match why {
        Some(why) => Err(Usage::error(format!("--tui: {why}; leave --tui out"))),
        None => Ok(()),
    }
}
