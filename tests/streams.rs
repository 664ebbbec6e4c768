//! Standard output and standard error that are full, closed or left by their readers.
#![cfg(unix)]
use crate::cli::train;
use assert_cmd::Command;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use tempfile::TempDir;

/// Every write to it fails, where the system has it.
const FULL: &str = "/dev/full";

/// The program itself, since `assert_cmd` gives it pipes of its own.
fn program(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("resnet"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RESNET_")) {
        command.env_remove(name);
    }
    command.args(args);
    command
}

fn full() -> Option<Stdio> {
    let file = OpenOptions::new().write(true).open(FULL);
    file.ok().map(Stdio::from)
}

/// A pipe that nobody reads.
fn left() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

/// Commands that print, and flags of clap's.
const PRINTING: [&[&str]; 7] = [
    &["shapes"],
    &["shapes", "--table"],
    &["shapes", "--json"],
    &["config"],
    &["config", "--reference"],
    &["--help"],
    &["--version"],
];

#[test]
fn output_that_cannot_be_written_is_an_error_that_names_it() {
    for args in PRINTING {
        let Some(stdout) = full() else { return };
        let output = program(args).stdout(stdout).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("standard output cannot be written: "),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for args in PRINTING {
        let output = program(args).stdout(left()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        // At most which network it is.
        let is_title = |line: &str| line.starts_with("ResNet-18 (d2l): ");
        assert!(said.lines().all(is_title), "{args:?}: {said}");
    }
}

/// How a run of two epochs ends whose stderr is this.
fn trained(out: &Path, stderr: Stdio) -> ExitStatus {
    let line = train(out, &[]);
    let args: Vec<&str> = line.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let mut command = program(&args);
    command.stdout(Stdio::null()).stderr(stderr);
    command.status().unwrap()
}

#[test]
fn messages_that_cannot_be_written_stop_nothing() {
    let folder = TempDir::new().unwrap();
    let streams = [("full", full()), ("left", Some(left()))];
    for (name, stderr) in streams {
        let Some(stderr) = stderr else { continue };
        let out = folder.path().join(name);
        assert_eq!(trained(&out, stderr).code(), Some(0), "{name}");
        assert!(out.join("metrics.csv").exists(), "{name}");
    }
    let refused: [(&[&str], i32); 3] = [
        (&["eval", "nothing"], 1),
        (&["train", "--epoch", "3"], 2),
        (
            &["train", "--data", "sample", "--device", "no-such-card"],
            1,
        ),
    ];
    for (args, code) in refused {
        for stderr in [full(), Some(left())].into_iter().flatten() {
            let status = program(args).stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn streams_that_are_closed_stop_nothing() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let line = train(&out, &["--json"]);
    let args: Vec<&str> = line.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let script = r#"exec "$0" "$@" >&- 2>&- <&-"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(assert_cmd::cargo::cargo_bin("resnet"));
    command.args(args).assert().success();
    assert!(out.join("metrics.csv").exists());
}

#[test]
fn a_run_whose_results_cannot_be_written_saves_and_names_the_resume_command() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let line = train(&out, &["--json"]);
    let args: Vec<&str> = line.get_args().map(|arg| arg.to_str().unwrap()).collect();
    // Its reader goes after the first line.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = program(&args);
    command.stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(command);
    let mut first = String::new();
    BufReader::with_capacity(1, reader)
        .read_line(&mut first)
        .unwrap();
    assert!(
        first.contains("\"event\":\"started\"") && first.contains("\"batch_size\":16"),
        "{first}"
    );
    let output = child.wait_with_output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("standard output cannot be written: "),
        "{said}"
    );
    let resume = format!("train --resume {}", out.display());
    assert!(said.contains(&resume), "{said}");
    crate::cli::resnet()
        .args(["train", "--resume", out.to_str().unwrap()])
        .assert()
        .success();

    // A run that is done is saved, though its two lines are not heard.
    let out = folder.path().join("done");
    let line = train(&out, &[]);
    let args: Vec<&str> = line.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let output = program(&args).stdout(left()).output().unwrap();
    let said = self::said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the run is finished, and saved in "),
        "{said}"
    );
}
