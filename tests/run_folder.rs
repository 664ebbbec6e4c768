//! The files of a run's folder: which there are, what they hold, and that a kill leaves no gap and no double in them.
use crate::cli::{json, resnet, told};
use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use resnet::train::checkpoint;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// A run of one epoch with three steps, unless more is said.
fn train(out: &Path, more: &[&str]) -> Command {
    let mut command = resnet();
    command
        .args("train --data sample --device cpu --image-size 28 --batch-size 16 --out".split(' '));
    command.envs([("RESNET_LIMIT_BATCHES", "3"), ("RESNET_EPOCHS", "1")]);
    command.arg(out).args(more);
    command
}

/// The same process for the standard library, which can kill it.
fn spawned(line: &Command) -> Child {
    let mut command = std::process::Command::new(line.get_program());
    for (name, value) in line.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .args(line.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn events(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let mut lines = text.lines();
    let head = json(lines.next().unwrap().as_bytes());
    assert_eq!(
        (&head["format"], &head["version"]),
        (&"resnet events".into(), &1.into())
    );
    lines.map(|line| json(line.as_bytes())).collect()
}

/// What the events of one kind have under a key.
fn of(events: &[Value], event: &str, key: &str) -> Vec<Value> {
    let of_kind = events.iter().filter(|line| line["event"] == event);
    of_kind.map(|line| line[key].clone()).collect()
}

#[test]
fn a_run_has_its_files() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let output = train(&run, &["--epochs", "2", "--schedule", "cosine"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let all = names(&run);
    for file in [
        ".lock",
        "best",
        "checkpoints",
        "config.toml",
        "confusion.csv",
        "confusion.svg",
        "curves.svg",
        "events.jsonl",
        "last",
        "log.txt",
        "metrics.csv",
    ] {
        assert!(
            all.iter().any(|name| name == file),
            "{file} is not in {all:?}"
        );
    }
    assert!(!all.iter().any(|name| name.starts_with(".tmp")), "{all:?}");

    let events = events(&run);
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    let epoch = ["step", "step", "step", "epoch"];
    assert_eq!(kinds, [&["started"][..], &epoch, &epoch, &["end"]].concat());
    assert_eq!(of(&events, "step", "step"), [1, 2, 3, 4, 5, 6]);
    let rates: Vec<f64> = of(&events, "step", "lr")
        .iter()
        .map(|lr| lr.as_f64().unwrap())
        .collect();
    assert_eq!(rates[0], 0.05);
    assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    assert_eq!(events[0]["sources"]["epochs"], "--epochs");
    assert!(events[0]["device"].as_str().unwrap().starts_with("cpu"));
    let seconds = &of(&events, "end", "seconds")[0];
    for phase in ["prepare", "train", "evaluate", "save"] {
        assert!(seconds[phase].as_f64().unwrap() > 0.0, "{phase}: {seconds}");
    }

    let log = fs::read_to_string(run.join("log.txt")).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let mut kept = log.lines();
    for line in said.lines() {
        assert!(kept.any(|kept| kept == line), "{line}: {log}");
    }
    assert!(
        log.contains("# --epochs") && log.contains("saved "),
        "{log}"
    );

    // What the last evaluation answered is what `eval` says of the newest checkpoint.
    let eval = |path: &Path| told("eval", path, &[]);
    let report = eval(&run);
    let mut csv = csv::Reader::from_path(run.join("confusion.csv")).unwrap();
    let counts: Vec<Vec<u64>> = csv
        .records()
        .map(|row| {
            row.unwrap()
                .iter()
                .skip(1)
                .map(|n| n.parse().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(report["confusion"], serde_json::to_value(&counts).unwrap());
    for (name, word) in [("curves.svg", "test acc"), ("confusion.svg", "ankle boot")] {
        let svg = fs::read_to_string(run.join(name)).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
            "{name}"
        );
        assert!(svg.contains(word) && !svg.contains("NaN"), "{name}");
    }
    let title = format!("accuracy {:.4}", report["accuracy"].as_f64().unwrap());
    assert!(
        fs::read_to_string(run.join("confusion.svg"))
            .unwrap()
            .contains(&title)
    );

    // The names of checkpoints, as links and as files.
    assert_eq!(eval(&run.join("last"))["loss"], report["loss"]);
    let best = told("eval", &run, &["--best"]);
    assert_eq!(eval(&run.join("best"))["loss"], best["loss"]);
    fs::remove_file(run.join("best")).unwrap();
    let step = best["checkpoint"]
        .as_str()
        .unwrap()
        .split("step-")
        .nth(1)
        .unwrap();
    fs::write(run.join("best"), format!("checkpoints/step-{}", &step[..8])).unwrap();
    assert_eq!(eval(&run.join("best"))["loss"], best["loss"]);
    assert_eq!(
        eval(&run.join("best"))["examples"],
        48,
        "the settings are the run's"
    );
}

#[test]
fn runs_have_names() {
    let folder = TempDir::new().unwrap();
    let train = |more: &[&str]| {
        let mut command = resnet();
        command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
        command
            .args(["--limit-batches", "1", "--epochs", "1"])
            .args(more);
        command.current_dir(folder.path()).assert()
    };
    train(&[]).success();
    train(&[]).success();
    train(&["--name", "mine"]).success();
    let runs = names(&folder.path().join("runs"));
    let today = jiff::ZonedDateTime::now().date().to_string();
    let of_arch = |name: &str| {
        name.split_once("-resnet18-")
            .map(|(day, word)| (day.to_string(), word.to_string()))
    };
    let (day, first) = of_arch(&runs[0]).unwrap();
    // Midnight may have passed.
    assert!(day <= today && day.len() == 10, "{day}");
    assert_eq!(first, "amber");
    assert!(of_arch(&runs[1]).is_some());
    assert_eq!(runs[2], "mine");
    train(&["--name", "mine"])
        .code(1)
        .stderr(contains("--name mine").and(contains("--resume runs/mine")));
    for wrong in ["a/b", "..", ".hidden", "", "-x", "a\\b", "a:b"] {
        train(&[&format!("--name={wrong}")])
            .code(2)
            .stderr(contains("--name"));
    }
    train(&["--name", "x", "--out", "y"])
        .code(2)
        .stderr(contains("--out says already"));
    assert_eq!(names(&folder.path().join("runs")).len(), 3);
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_is_in_nobodys_way() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let mut child = spawned(&train(&run, &["--limit-batches", "100"]));
    let begun = || {
        fs::read_to_string(run.join("events.jsonl")).is_ok_and(|text| text.contains("\"step\":2,"))
    };
    while !begun() {
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!run.join("checkpoints").exists());
    train(&run, &[]).assert().success();
    assert_eq!(of(&events(&run), "started", "step"), [0]);
}

/// Kills a run so often, at any moment, and holds what it leaves against a run that was left alone.
fn killed(times: u64) {
    let folder = TempDir::new().unwrap();
    let [unbroken, broken] = ["unbroken", "broken"].map(|name| folder.path().join(name));
    // Long enough that most kills come before its end.
    let epochs = (3 + times / 3).to_string();
    let more = [
        "--epochs",
        &epochs,
        "--limit-batches",
        "8",
        "--momentum",
        "0.9",
        "--save-every",
        "2",
    ];
    train(&unbroken, &more).assert().success();
    let go_on = || match checkpoint::latest(&broken) {
        Ok(_) => {
            let mut resume = resnet();
            resume.args(["train", "--resume"]).arg(&broken);
            resume
        }
        Err(_) => train(&broken, &more),
    };
    let mut kills = 0;
    // A generator of its own: the moments differ, and come again with the same numbers.
    let mut moment: u64 = 0x9e37_79b9;
    while kills < times {
        let mut child = spawned(&go_on());
        moment = moment
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        sleep(Duration::from_millis((moment >> 33) % 1200));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        if ended.code() == Some(0) {
            break;
        }
        assert_eq!(ended.code(), None, "it was killed, and did not fail");
        kills += 1;
    }
    assert!(kills >= times / 3, "only {kills} kills came before the end");
    go_on().assert().success();
    println!("{kills} kills");
    let weights = |run: &Path| fs::read(run.join("last/weights.safetensors")).unwrap();
    assert!(weights(&unbroken) == weights(&broken));
    let (whole, pieces) = (events(&unbroken), events(&broken));
    for (event, key) in [
        ("step", "step"),
        ("step", "loss"),
        ("step", "lr"),
        ("step", "epoch"),
        ("epoch", "epoch"),
        ("epoch", "step"),
        ("epoch", "train_loss"),
        ("epoch", "test_acc"),
    ] {
        assert_eq!(
            of(&whole, event, key),
            of(&pieces, event, key),
            "{event} {key}"
        );
    }
    let order = |events: &[Value]| -> Vec<String> {
        let told = events
            .iter()
            .filter(|e| e["event"] == "step" || e["event"] == "epoch");
        told.map(|e| format!("{} {}", e["event"], e["step"]))
            .collect()
    };
    assert_eq!(order(&whole), order(&pieces));
    let rows = |run: &Path| {
        let mut csv = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
        let rows = csv.records().map(|row| {
            row.unwrap()
                .iter()
                .take(4)
                .map(String::from)
                .collect::<Vec<_>>()
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(rows(&unbroken), rows(&broken));
    for name in ["curves.svg", "confusion.csv", "confusion.svg"] {
        let of = |run: &Path| fs::read(run.join(name)).unwrap();
        assert!(of(&unbroken) == of(&broken), "{name}");
    }
    assert_eq!(names(&unbroken), names(&broken));
}

#[test]
fn kills_leave_no_gap_and_no_double() {
    killed(6);
}

#[test]
#[ignore = "a minute: scripts/test.sh --all"]
fn sixty_kills_leave_no_gap_and_no_double() {
    killed(60);
}
