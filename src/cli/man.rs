//! `resnet man`: the manual pages.
use crate::config::{Usage, nearest};
use crate::process::one_line;
use crate::{files, process};
use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet man | man -l -                 the page of resnet
  resnet man train | man -l -           the page of a command
  resnet man --out ~/.local/share/man/man1   all pages, as files";

/// Arguments of `resnet man`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// The command whose page is printed [default: resnet itself].
    command: Option<String>,
    /// Writes all pages into this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Prints a page, or writes all of them.
///
/// # Errors
/// When there is no such command, or the folder cannot be written.
pub fn run(args: Args, command: Command) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut out = process::output();
    if let Some(folder) = args.out {
        let pages = command.get_subcommands().chain([&command]);
        for command in pages {
            let file = folder.join(Man::new(command.clone()).get_filename());
            files::replace(&file, &page(command)?).context("--out")?;
            writeln!(out, "{}", one_line(&file))?;
        }
        return Ok(());
    }
    let command = match &args.command {
        None => &command,
        Some(name) => {
            let found = command.find_subcommand(name);
            found.ok_or_else(|| unknown(name, &command))?
        }
    };
    out.write_all(&page(command)?)?;
    Ok(())
}

/// A page, with the examples before the options as in the help.
fn page(command: &Command) -> Result<Vec<u8>> {
    let examples = command
        .get_before_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let page = Man::new(command.clone().before_help(None::<&str>));
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    writeln!(out, ".SH EXAMPLES\n.nf")?;
    for line in examples.lines().skip(1) {
        writeln!(out, "{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(out, ".fi")?;
    page.render_options_section(&mut out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut out)?;
    }
    if command.get_version().is_some() {
        page.render_version_section(&mut out)?;
    }
    Ok(out)
}

fn unknown(name: &str, command: &Command) -> anyhow::Error {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let near = nearest(name, names.iter().copied());
    let near = near.map_or(String::new(), |near| format!("did you mean {near}? "));
    Usage::error(format!(
        "{name} is no command: {near}The commands are {}",
        names.join(", ")
    ))
}
