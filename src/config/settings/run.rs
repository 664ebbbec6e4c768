//! The settings of the course of a run.
use super::on_resume::ON_RESUME;
use crate::config::range::{EPOCHS, SEED, STEPS, folder_name};
use crate::config::time_span::TimeSpan;
use clap::ArgAction;
use serde::Serialize;
use std::path::PathBuf;

/// The course of a run.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct Run {
    /// Passes over the training images.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = EPOCHS.parser::<usize>(), group = ON_RESUME)]
    pub epochs: usize,
    /// Stops after so much time, such as 90s, 30m, 2h or 1h30m, as Ctrl-C does but with exit code 0 [default: never]. Each
    /// start of the program counts anew.
    #[arg(long, value_name = "TIME", group = ON_RESUME)]
    pub max_time: Option<TimeSpan>,
    /// Ends the run after N epochs without a better accuracy on the validation images, or without --val-split on the test
    /// images [default: never].
    #[arg(long, value_name = "N", value_parser = EPOCHS.parser::<usize>(), group = ON_RESUME)]
    pub patience: Option<usize>,
    /// Name of the run, whose folder is runs/NAME [default: the date, the network and a word, such as
    /// 2026-11-26-resnet18-amber].
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    pub name: Option<String>,
    /// Folder of the run in another place than runs; it must not hold anything yet.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Steps between checkpoints within an epoch [default: every ten minutes]. Every epoch ends with one.
    #[arg(long, value_name = "STEPS", value_parser = STEPS.parser::<usize>(), group = ON_RESUME)]
    pub save_every: Option<usize>,
    /// Writes event files for TensorBoard too, into the folder tensorboard of the run.
    #[arg(long, group = ON_RESUME)]
    pub tensorboard: bool,
    /// Checkpoints to keep, the newest ones; the best is kept besides.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = STEPS.parser::<usize>(), group = ON_RESUME)]
    pub keep: usize,
}

/// What the seed decides.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct Random {
    /// Random seed: initial weights, order of examples, mirroring; below 2^63.
    #[arg(long, default_value_t = 0, value_parser = SEED.parser::<u64>())]
    pub seed: u64,
    /// Turns shuffling off: examples come in the order of the file.
    #[arg(long = "no-shuffle", action = ArgAction::SetFalse)]
    pub shuffle: bool,
}
