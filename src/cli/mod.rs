//! The commands: arguments and printing, one file each. The work is done elsewhere.
mod answer;
mod begin;
mod bench;
mod config;
mod data;
mod devices;
mod eval;
mod fetch;
mod grow;
mod hardware;
mod init;
mod lr_find;
mod network;
mod pictures;
mod predict;
mod probe;
mod shapes;
mod signals;
mod status;
mod torch;
mod train;
mod trained;
mod verify;

use crate::config::Usage;
use crate::process::{self, Unwritable};
use anyhow::Result;
use clap::{Parser, Subcommand};
use status::{Status, USAGE};
use std::io::Write;
use std::process::ExitCode;

/// Trains ResNets on any GPU through WGSL compute shaders, and on the CPU where there is none.
#[derive(Parser)]
#[command(name = "resnet", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a ResNet on Fashion-MNIST.
    Train(Box<train::Args>),
    /// Finds a learning rate: trains with rising ones until the loss diverges, and suggests one.
    LrFind(lr_find::Args),
    /// Evaluates a run or a file of weights on the test images.
    Eval(eval::Args),
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
    /// Downloads Fashion-MNIST.
    Fetch(fetch::Args),
    /// Checks this device's results against PyTorch's.
    Verify(verify::Args),
    /// Prints a Python file with the networks as PyTorch modules, which load and save weights.
    Torch(torch::Args),
}

/// Reads the command line, or tells what is wrong with it or what was asked about it.
///
/// # Errors
/// With the exit code, once all is said.
pub fn parse() -> Result<Cli, ExitCode> {
    signals::writes_may_fail();
    Cli::try_parse().map_err(|said| {
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

/// Runs the command; prints its error, if any, to stderr.
pub fn run(cli: Cli) -> ExitCode {
    let done = |()| Status::Done;
    let result = match cli.command {
        Command::Train(args) => train::run(*args),
        Command::LrFind(args) => lr_find::run(args).map(done),
        Command::Eval(args) => eval::run(args).map(done),
        Command::Predict(args) => predict::run(args).map(done),
        Command::Grow(args) => grow::run(args).map(done),
        Command::Probe(args) => probe::run(args).map(done),
        Command::Shapes(args) => shapes::run(args).map(done),
        Command::Devices(args) => devices::run(args).map(done),
        Command::Bench(args) => bench::run(args).map(done),
        Command::Config(args) => config::run(*args).map(done),
        Command::Fetch(args) => fetch::run(args).map(done),
        Command::Verify(args) => verify::run(args).map(done),
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
            process::say(format_args!("error: {error:#}"));
            match error.is::<Usage>() {
                true => ExitCode::from(USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}
