//! Parses the command line, runs the command, prints an error once.
use std::process::ExitCode;

fn main() -> ExitCode {
    resnet::cli::parse().map_or_else(|code| code, resnet::cli::run)
}
