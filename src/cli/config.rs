//! `resnet config`: the resolved settings.
use crate::config::{self, Given, TrainConfig, Usage};
use crate::process;
use anyhow::Result;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet config                                the defaults, with what the environment changes
  resnet config --config configs/smoke.toml --lr 0.1
  resnet config --config runs/first/config.toml  a run's";

/// Arguments of `resnet config`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: Given<TrainConfig>,
    /// TOML file of settings. Flags and variables override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the table of all settings in Markdown instead.
    #[arg(long, exclusive = true)]
    reference: bool,
}

/// Prints the settings as a file has them, each with what gave it.
///
/// # Errors
/// When a setting or the file is wrong.
pub fn run(args: Args) -> Result<()> {
    let mut out = process::output();
    if args.reference {
        write!(out, "{}", config::reference())?;
        return Ok(());
    }
    let resolved = config::from_file(args.config.as_deref(), args.settings.layers())?;
    // No data say how many channels and classes.
    let network = resolved.config.network.choice().arch(1, 1);
    network.map_err(Usage::error)?;
    write!(out, "{resolved}")?;
    Ok(())
}
