//! The commands: arguments and printing, one file each. The work is done elsewhere.
mod answer;
mod begin;
mod bench;
mod compare;
mod completions;
mod config;
mod data;
mod devices;
mod eval;
mod evaluated;
mod fetch;
mod grow;
mod hardware;
mod images;
mod init;
mod lr_find;
mod man;
mod network;
mod pictures;
mod predict;
mod probe;
mod report;
mod runs;
mod shapes;
mod signals;
mod status;
mod torch;
mod train;
mod trained;
mod tta;
mod verify;
mod version;

use crate::config::{Usage, unread_variables};
use crate::process::{self, Colour, Talk, Unwritable, command, one_line, quoted};
use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use status::{Status, USAGE};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Trains ResNets on any GPU through WGSL compute shaders, and on the CPU where there is none.
#[derive(Parser)]
#[command(
    name = "resnet",
    version = version::short(),
    long_version = version::long(),
    arg_required_else_help = true,
    before_help = EXAMPLES
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No notes and no progress on stderr: only errors, and what to type next.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    quiet: bool,
    /// More on stderr: settings with their sources, the plan of a step, the time of each phase, every checkpoint.
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    verbose: bool,
    /// Colour in messages and help; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long = COLOUR, global = true, value_name = "WHEN", value_enum, default_value = "auto", help_heading = OUTPUT)]
    colour: Colour,
}

const EXAMPLES: &str = "Examples:
  resnet train --data sample --image-size 28   a first run: half a minute
  resnet train                                 ResNet-18 on Fashion-MNIST, as in the book d2l.ai
  resnet eval runs/first                       how good it is
  resnet predict runs/first boot.jpg           what it says of a picture
  resnet train --help                          examples and flags of a command";

/// The heading of the flags that all commands have.
const OUTPUT: &str = "Output";

const COLOUR: &str = "color";

#[derive(Subcommand)]
enum Command {
    /// Trains a ResNet on pictures, Fashion-MNIST or other data.
    Train(Box<train::Args>),
    /// Finds a learning rate: trains with rising ones until the loss diverges, and suggests one.
    LrFind(lr_find::Args),
    /// Evaluates a run or a file of weights on the test images.
    Eval(eval::Args),
    /// Lists the runs in a folder.
    Runs(runs::Args),
    /// Compares runs: results, settings, curves.
    Compare(compare::Args),
    /// Makes the report of a run again.
    Report(report::Args),
    /// Predicts the classes of image files.
    Predict(predict::Args),
    /// Makes a trained network deeper by blocks that compute the identity.
    Grow(grow::Args),
    /// Tells how much each residual block of a trained network adds to its input, and what its gradients are.
    Probe(probe::Args),
    /// Prints the output size of every layer; nothing is executed.
    Shapes(shapes::Args),
    /// Lists the devices that can train.
    Devices(devices::Args),
    /// Measures training and inference on synthetic images.
    Bench(bench::Args),
    /// Prints the resolved settings and where each value comes from.
    Config(Box<config::Args>),
    /// Tells what a data set holds, and what is left out of it and why.
    Data(data::Args),
    /// Downloads Fashion-MNIST, MNIST, KMNIST or CIFAR-10.
    Fetch(fetch::Args),
    /// Checks this device's results against PyTorch's.
    Verify(verify::Args),
    /// Prints the completions of a shell.
    Completions(completions::Args),
    /// Prints or writes the manual pages.
    Man(man::Args),
    /// Prints a Python file with the networks as PyTorch modules, which load and save weights.
    Torch(torch::Args),
}

/// Reads the command line, or tells what is wrong with it or what was asked about it.
///
/// # Errors
/// With the exit code, once all is said.
pub fn parse() -> Result<Cli, ExitCode> {
    signals::writes_may_fail();
    let mut command = Cli::command().color(help_colour(std::env::args_os()));
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|mut said| {
        advise_to_resume(&mut said);
        in_one_line(&mut said);
        let said = said.format(&mut command);
        let printed = said.print();
        if said.use_stderr() {
            return ExitCode::from(USAGE);
        }
        ended(
            printed
                .map(|()| Status::Done)
                .map_err(|error| Unwritable::of(error).into()),
        )
    })
}

/// Adds to the error of an argument that `train` does not take how to go on with a run, if it names one.
fn advise_to_resume(said: &mut clap::Error) {
    let trains = std::env::args_os().any(|arg| arg == "train");
    let Some(ContextValue::String(arg)) = said.get(ContextKind::InvalidArg) else {
        return;
    };
    let path = Path::new(arg);
    if said.kind() == ErrorKind::UnknownArgument && trains && path.is_dir() {
        let tip = format!(
            "to go on with a run: {} {}",
            command("train --resume"),
            quoted(path)
        );
        said.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
}

/// Writes out what a terminal would obey, or end a line at, in what was typed.
fn in_one_line(said: &mut clap::Error) {
    for kind in [
        ContextKind::InvalidArg,
        ContextKind::InvalidSubcommand,
        ContextKind::InvalidValue,
    ] {
        if let Some(ContextValue::String(typed)) = said.get(kind) {
            let shown = ContextValue::String(one_line(typed));
            said.insert(kind, shown);
        }
    }
}

/// The colour of what is said before the command line is understood, such as its help.
fn help_colour(args: impl Iterator<Item = OsString>) -> ColorChoice {
    let flag = format!("--{COLOUR}");
    let texts = args.map(|arg| arg.to_string_lossy().to_string());
    let texts: Vec<String> = texts.take_while(|arg| arg != "--").collect();
    let given = texts.iter().enumerate().find_map(|(i, arg)| {
        let value = arg.strip_prefix(&flag)?;
        match value.strip_prefix('=') {
            None if value.is_empty() => texts.get(i + 1).cloned(),
            value => value.map(str::to_string),
        }
    });
    given
        .and_then(|given| given.parse().ok())
        .unwrap_or_default()
}

/// Runs the command; prints its error, if any, to stderr.
pub fn run(cli: Cli) -> ExitCode {
    let talk = match (cli.quiet, cli.verbose) {
        (true, _) => Talk::Quiet,
        (_, true) => Talk::Details,
        _ => Talk::Notes,
    };
    process::set_talk(talk, cli.colour);
    if matches!(cli.command, Command::Train(_)) {
        process::hold_messages();
    }
    // What these print may be read at every start of a shell.
    if !matches!(cli.command, Command::Completions(_) | Command::Man(_)) {
        unread_variables().iter().for_each(process::say);
    }
    let done = |()| Status::Done;
    let result = match cli.command {
        Command::Train(args) => train::run(*args),
        Command::LrFind(args) => lr_find::run(args).map(done),
        Command::Eval(args) => eval::run(args).map(done),
        Command::Runs(args) => runs::run(args).map(done),
        Command::Compare(args) => compare::run(args).map(done),
        Command::Report(args) => report::run(args).map(done),
        Command::Predict(args) => predict::run(args).map(done),
        Command::Grow(args) => grow::run(args).map(done),
        Command::Probe(args) => probe::run(args).map(done),
        Command::Shapes(args) => shapes::run(args).map(done),
        Command::Devices(args) => devices::run(args).map(done),
        Command::Bench(args) => bench::run(args).map(done),
        Command::Config(args) => config::run(*args).map(done),
        Command::Data(args) => data::run(args).map(done),
        Command::Fetch(args) => fetch::run(args).map(done),
        Command::Verify(args) => verify::run(args).map(done),
        Command::Completions(args) => completions::run(args, Cli::command()).map(done),
        Command::Man(args) => man::run(args, Cli::command()).map(done),
        Command::Torch(args) => torch::run(args).map(done),
    };
    ended(result)
}

/// Prints the error, if any.
fn ended(result: Result<Status>) -> ExitCode {
    // What is still held back must not be lost unnoticed.
    let result = result.and_then(|status| {
        process::output().flush()?;
        Ok(status)
    });
    match result {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Interrupted(code)) => ExitCode::from(code),
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if Unwritable::is_left(error.root_cause()) => ExitCode::SUCCESS,
        Err(error) => {
            process::fail(&error);
            match error.is::<Usage>() {
                true => ExitCode::from(USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}
