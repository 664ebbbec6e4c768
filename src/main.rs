//! Parses the command line, runs the command, prints an error once.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    resnet::cli::run(resnet::cli::Cli::parse())
}
