//! `resnet torch`: the networks as PyTorch modules, for those who have only this program.
use crate::process;
use anyhow::Result;
use std::io::Write;

const EXAMPLES: &str = "Examples:
  resnet torch > resnet_torch.py    then in Python: from resnet_torch import load, preprocess, save";

/// Arguments of `resnet torch`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {}

/// Prints the file.
///
/// # Errors
/// When stdout is closed.
pub fn run(_: Args) -> Result<()> {
    let file = include_bytes!("../../scripts/resnet_torch.py");
    Ok(process::output().write_all(file)?)
}
