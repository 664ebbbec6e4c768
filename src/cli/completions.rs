//! `resnet completions`: what a shell completes.
use crate::process;
use anyhow::Result;
use clap::Command;
use clap_complete::Shell;
use std::io::Write;

const EXAMPLES: &str = "Examples:
  resnet completions bash > ~/.local/share/bash-completion/completions/resnet
  resnet completions zsh > \"${fpath[1]}/_resnet\"
  resnet completions fish > ~/.config/fish/completions/resnet.fish
  resnet completions powershell >> $PROFILE";

/// Arguments of `resnet completions`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the shell's script.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: Args, mut command: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "resnet", &mut script);
    process::output().write_all(&script)?;
    Ok(())
}
