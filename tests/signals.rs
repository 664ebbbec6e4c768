//! Signals to a run at work: it saves, ends with the code that tells which one came, and goes on when resumed.
#![cfg(unix)]
use crate::cli::resnet;
use assert_cmd::cargo::cargo_bin;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run of many short steps, called as `argv0`.
fn run(out: &Path, argv0: Option<&str>) -> Command {
    let mut command = Command::new(cargo_bin("resnet"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RESNET_")) {
        command.env_remove(name);
    }
    if let Some(name) = argv0 {
        command.arg0(name);
    }
    command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
    command.args(["--epochs", "50", "--json", "--out"]).arg(out);
    command.stderr(Stdio::piped());
    command
}

/// Starts it, with its events in a file, and waits for its first steps.
fn started(mut command: Command, folder: &Path) -> Child {
    let events = folder.join("events");
    command.stdout(File::create(&events).unwrap());
    let child = command.spawn().unwrap();
    let begun = Instant::now();
    while !std::fs::read_to_string(&events).is_ok_and(|text| text.contains("\"step\":2,")) {
        assert!(begun.elapsed() < Duration::from_secs(120), "no step");
        sleep(Duration::from_millis(20));
    }
    child
}

fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.unwrap().success());
}

/// How it ended, and what it said.
fn ended(mut child: Child) -> (ExitStatus, String) {
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    (child.wait().unwrap(), said)
}

fn last_event(folder: &Path) -> serde_json::Value {
    let events = std::fs::read_to_string(folder.join("events")).unwrap();
    serde_json::from_str(events.lines().last().unwrap()).unwrap()
}

/// Whether Linux lists a signal among those that a process treats in this way.
fn of_process(id: &str, way: &str, signal: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else {
        return false;
    };
    let line = status.lines().find_map(|line| line.strip_prefix(way));
    let set = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    set >> (signal - 1) & 1 == 1
}

/// A shell ignores SIGINT for what it runs in the background and nohup SIGHUP, and so does all that this starts.
pub fn is_ignored_here(signal: u32) -> bool {
    of_process("self", "SigIgn:", signal)
}

#[test]
fn a_signal_saves_and_the_exit_code_tells_which_came() {
    for (signal, number, code) in [("-INT", 2, 130), ("-TERM", 15, 143), ("-HUP", 1, 129)] {
        if is_ignored_here(number) {
            eprintln!("SKIPPED {signal}: these tests run in the background, or under nohup");
            continue;
        }
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("my run");
        let child = started(run(&out, Some("./bin dir/resnet")), folder.path());
        send(&child, signal);
        // `timeout` sends its signal twice.
        send(&child, signal);
        let (status, said) = ended(child);
        assert_eq!(status.code(), Some(code), "{said}");
        let resume = format!(
            "\n  './bin dir/resnet' train --resume '{}'\n",
            out.display()
        );
        assert!(said.contains(&resume), "{resume}: {said}");
        let last = last_event(folder.path());
        assert_eq!(last["event"], "interrupted");
        let step = last["step"].as_u64().unwrap();
        assert!(out.join(format!("checkpoints/step-{step:08}")).is_dir());
    }
}

/// A run that waits for the reader of its events cannot save.
#[cfg(target_os = "linux")]
#[test]
fn a_second_signal_ends_a_run_at_once() {
    use std::io::Write;
    let folder = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    // A pipe that is full already.
    let mut filler = writer.try_clone().unwrap();
    std::thread::spawn(move || while filler.write_all(&[b' '; 1 << 10]).is_ok() {});
    let mut command = run(&folder.path().join("run"), None);
    let child = command.stdout(writer).spawn().unwrap();
    drop(command);
    let catches = |signal| of_process(&child.id().to_string(), "SigCgt:", signal);
    while !catches(15) {
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(500));
    send(&child, "-TERM");
    sleep(Duration::from_millis(700));
    send(&child, "-TERM");
    let (status, said) = ended(child);
    assert_eq!(status.code(), Some(143), "{said}");
    assert!(said.contains("a second Ctrl-C or signal quits"), "{said}");
    drop(reader);
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let line = run(&out, None);
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" HUP INT; exec "$0" "$@""#]);
    command
        .arg(line.get_program())
        .args(line.get_args())
        .stderr(Stdio::piped());
    let child = started(command, folder.path());
    send(&child, "-HUP");
    send(&child, "-INT");
    sleep(Duration::from_millis(300));
    assert_eq!(last_event(folder.path())["event"], "step");
    send(&child, "-TERM");
    let (status, said) = ended(child);
    assert_eq!(status.code(), Some(143), "{said}");
}

#[test]
fn a_signal_before_the_training_ends_it_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let mut command = run(&out, None);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    send(&child, "-TERM");
    let status = child.wait().unwrap();
    // Rarely, on a busy machine, the run has begun by now.
    let told = status.signal() == Some(15) || status.code() == Some(143);
    assert!(told, "{status}");
    assert!(status.code().is_some() || !out.exists());
}

#[test]
fn a_limit_of_file_sizes_is_an_error_that_names_the_next_command() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let run = out.to_str().unwrap();
    let mut new: Vec<&str> = "train --data sample --device cpu --image-size 28 --batch-size 16"
        .split(' ')
        .collect();
    new.extend(["--limit-batches", "2", "--epochs", "1", "--out", run]);
    let limited = |args: &[&str]| {
        let script = r#"ulimit -f 20000; exec "$0" "$@""#;
        let mut command = assert_cmd::Command::new("sh");
        command.args(["-c", script]).arg(cargo_bin("resnet"));
        let failed = command.args(args).assert().code(1);
        String::from_utf8_lossy(&failed.get_output().stderr).to_string()
    };
    let said = limited(&new);
    assert!(
        said.contains("weights.safetensors") && said.contains("too large"),
        "{said}"
    );
    assert!(!out.exists(), "{said}");

    resnet().args(&new).assert().success();
    let said = limited(&["train", "--resume", run, "--epochs", "2"]);
    let resume = format!("train --resume {run}");
    assert!(
        said.contains("is saved; resume with") && said.contains(&resume),
        "{said}"
    );
}

/// Whatever the limit is, the run is done or ends with an error; nothing aborts.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_memory_is_an_error_too() {
    let folder = TempDir::new().unwrap();
    let mut failures = 0;
    for mib in [150, 250, 300, 350, 400, 450, 500] {
        let run = folder.path().join(mib.to_string());
        let script = format!(r#"ulimit -v {}; exec "$0" "$@""#, mib << 10);
        let mut command = assert_cmd::Command::new("sh");
        command.args(["-c", &script]).arg(cargo_bin("resnet"));
        command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
        command.args("--limit-batches 2 --epochs 1 --threads 2 --momentum 0.9 --out".split(' '));
        let output = command.arg(&run).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).to_string();
        match output.status.code() {
            Some(0) => {}
            Some(1) => {
                failures += 1;
                assert!(said.contains("error: "), "{mib} MiB: {said}");
            }
            _ => panic!("{mib} MiB: {}: {said}", output.status),
        }
    }
    assert!(failures > 0);
}
