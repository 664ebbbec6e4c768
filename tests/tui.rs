//! `--tui` on a real pseudo-terminal, that of the command `script`: whatever ends the view, the terminal is whole again.
#![cfg(target_os = "linux")]
use crate::cli::resnet;
use crate::signals::is_ignored_here;
use assert_cmd::cargo::cargo_bin;
use predicates::str::contains;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";

/// A terminal with a run in it.
struct Terminal {
    script: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// One of 100×30, in which the settings of the terminal are told before and after the run. `None` without `script`.
    fn of(out: &Path, more: &str) -> Option<Terminal> {
        let train = "train --tui --data sample --device cpu --image-size 16 --batch-size 16 --widths 4 --blocks 1";
        let line = format!(
            "trap : INT; stty rows 30 cols 100; echo before $(stty -g) end; '{}' {train} {more} --out '{}'; \
             echo code $? end; echo after $(stty -g) end",
            cargo_bin("resnet").display(),
            out.display()
        );
        let mut script = Command::new("script");
        script.args(["-qefc", &line, "/dev/null"]);
        script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RESNET_")) {
            script.env_remove(name);
        }
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut script) = script.spawn() else {
            eprintln!("SKIPPED: there is no command `script`");
            return None;
        };
        let shown = Arc::new(Mutex::new(Vec::new()));
        let mut output = script.stdout.take().unwrap();
        let kept = Arc::clone(&shown);
        spawn(move || {
            let mut bytes = [0; 1 << 12];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Some(Terminal { script, shown })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, what: &str) {
        let begun = Instant::now();
        while !self.text().contains(what) {
            let late = begun.elapsed() > Duration::from_secs(120);
            assert!(!late, "no {what:?}: {}", self.text());
            sleep(Duration::from_millis(20));
        }
    }

    fn type_in(&mut self, keys: &str) {
        // The run may have ended by now.
        let stdin = self.script.stdin.as_mut().unwrap();
        let _ = stdin.write_all(keys.as_bytes());
    }

    /// Sends SIGTERM to the run, whose parent is the shell that `script` started.
    fn terminate(&self) {
        let children = |id: &str| {
            let of = Command::new("pgrep").args(["-P", id]).output().unwrap();
            String::from_utf8(of.stdout).unwrap().trim().to_string()
        };
        let run = children(&children(&self.script.id().to_string()));
        let sent = Command::new("kill").args(["-TERM", &run]).status();
        assert!(sent.unwrap().success());
    }

    /// What was shown, once the run has ended with this code and the terminal is as it was.
    fn ended(mut self, code: i32) -> String {
        self.wait_for("after ");
        self.script.wait().unwrap();
        sleep(Duration::from_millis(100));
        let text = self.text();
        assert!(text.contains(&format!("code {code} end")), "{text}");
        let of = |begin: &str| {
            let from = text.rfind(begin).unwrap() + begin.len();
            text[from..].split(" end").next().unwrap().to_string()
        };
        assert_eq!(of("before "), of("after "), "the terminal's settings");
        for (begin, end) in [(ENTER, LEAVE), (HIDE, SHOW)] {
            let (begun, ended) = (text.rfind(begin).unwrap(), text.rfind(end).unwrap());
            assert!(begun < ended, "{end:?} after {begin:?}: {text:?}");
        }
        text
    }
}

/// What stands on the first page of the terminal after the view.
fn afterwards(text: &str) -> &str {
    &text[text.rfind(LEAVE).unwrap()..]
}

#[test]
fn the_view_is_left_at_the_end_of_a_run() {
    let folder = TempDir::new().unwrap();
    let more = "--limit-batches 20 --epochs 20";
    let Some(terminal) = Terminal::of(&folder.path().join("run"), more) else {
        return;
    };
    let text = terminal.ended(0);
    // Blanks between words are not sent.
    for word in ["loss", "acc", "leaves", "examples/s", "sneaker"] {
        let view = &text[..text.rfind(LEAVE).unwrap()];
        assert!(view.contains(word), "{word}: {view}");
    }
    // What was told meanwhile stays, and so do the results.
    for line in [
        "epoch 1/20  train loss",
        "epoch 20/20  train loss",
        "run saved in",
        "loss ",
        "examples/sec on",
    ] {
        assert!(
            afterwards(&text).contains(line),
            "{line}: {}",
            afterwards(&text)
        );
    }
}

#[test]
fn q_leaves_the_view_and_not_the_run() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let Some(mut terminal) = Terminal::of(&run, "--epochs 400 --limit-batches 20") else {
        return;
    };
    terminal.wait_for("examples/s");
    terminal.type_in("q");
    terminal.wait_for(LEAVE);
    // The bar of an epoch that begins afterwards.
    let seen = terminal.text().len();
    let begun = Instant::now();
    while !terminal.text()[seen..].contains("left: epoch") {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            terminal.text()
        );
        sleep(Duration::from_millis(20));
    }
    terminal.terminate();
    let text = terminal.ended(143);
    assert!(afterwards(&text).contains("train --resume"), "{text}");
}

#[test]
fn ctrl_c_in_the_view_saves_and_a_second_one_quits() {
    if is_ignored_here(2) {
        eprintln!("SKIPPED: these tests run in the background");
        return;
    }
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let Some(mut terminal) = Terminal::of(&run, "--epochs 400") else {
        return;
    };
    terminal.wait_for("examples/s");
    terminal.type_in("\x03");
    let text = terminal.ended(130);
    let left = afterwards(&text);
    assert!(left.contains("finishing the step and saving"), "{left}");
    assert!(left.contains("train --resume"), "{left}");
    assert!(run.join("last/weights.safetensors").exists());

    // Whether the run is saved by then or not, the code and the terminal are the same.
    let mut terminal = Terminal::of(&folder.path().join("second"), "--epochs 400").unwrap();
    terminal.wait_for("examples/s");
    terminal.type_in("\x03");
    sleep(Duration::from_millis(350));
    terminal.type_in("\x03");
    terminal.ended(130);
}

#[test]
fn signals_and_errors_leave_the_view_too() {
    let folder = TempDir::new().unwrap();
    let Some(terminal) = Terminal::of(&folder.path().join("term"), "--epochs 400") else {
        return;
    };
    terminal.wait_for("examples/s");
    terminal.terminate();
    let text = terminal.ended(143);
    assert!(afterwards(&text).contains("train --resume"), "{text}");

    let more = "--epochs 400 --lr 1e30";
    let terminal = Terminal::of(&folder.path().join("error"), more).unwrap();
    let text = terminal.ended(1);
    assert!(afterwards(&text).contains("error:"), "{text}");
}

#[test]
fn a_view_without_a_terminal_is_refused() {
    let train = |more: &[&str]| {
        let mut command = resnet();
        command
            .args(["train", "--tui", "--data", "sample"])
            .args(more);
        command.assert().code(2)
    };
    train(&[]).stderr(contains("--tui: stderr is no terminal"));
    train(&["-q"]).stderr(contains("--tui: -q wants no progress"));
    train(&["--json"]).stderr(contains("cannot be used with"));
}
