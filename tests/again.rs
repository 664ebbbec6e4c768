//! Runs that go on, or are made again: what is left to do of them, what they begin with, and which settings no longer
//! fit them.
use crate::cli::{SMALL, json, resnet, told, train};
use anyhow::Result;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use resnet::backend::cpu::Cpu;
use resnet::config::TrainConfig;
use resnet::data::{self, ImageSource, Split};
use resnet::report::{Origin, observers};
use resnet::train::{Cause, Event, Observer, Outcome, Start, Trainer};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn resume(run: &Path, more: &[&str]) -> Assert {
    let mut command = resnet();
    command.args(["train", "--resume"]).arg(run).args(more);
    command.assert()
}

fn last_event(run: &Path) -> Value {
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    json(events.lines().last().unwrap().as_bytes())
}

/// Asks a run to stop as soon as it looks at the test images.
struct StopAtTest(Arc<AtomicBool>);

impl Observer for StopAtTest {
    fn on(&mut self, event: &Event) -> Result<()> {
        if let Event::Answers {
            split: Split::Test, ..
        } = event
        {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[test]
fn a_run_that_was_stopped_in_its_test_pass_makes_it_when_resumed() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let mut config = TrainConfig::default();
    config.data.data = Some("sample".to_string());
    config.hardware.device = "cpu".to_string();
    config.model.image_size = 28;
    config.batch.batch_size = 16;
    config.limit.limit_batches = Some(3);
    config.training.val_split = Some(resnet::config::ValSplit::Images(100));
    config.run.epochs = 2;
    config.run.out = Some(run.clone());
    let data: Arc<dyn ImageSource> = Arc::new(data::sample().unwrap());
    let arch = config.network.choice().arch(1, 10).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut all = observers(false, None, Origin::default(), data.clone());
    all.push(Box::new(StopAtTest(stop.clone())));
    let trainer = Trainer::new(config, arch, data, Start::Fresh).unwrap();
    let outcome = trainer.run(Box::new(Cpu::new().unwrap()), &mut all, &stop);
    assert_eq!(outcome.unwrap(), Outcome::Interrupted(Cause::Asked));
    let last = last_event(&run);
    assert_eq!(
        (&last["event"], &last["epoch"]),
        (&"interrupted".into(), &2.into())
    );
    assert!(!run.join("report.html").exists());
    assert_eq!(told("runs", &run, &[])["runs"][0]["state"], "interrupted");

    let resumed = resume(&run, &[]).success().stdout(contains("test acc"));
    resumed.stderr(contains("run saved in").and(contains("is finished").not()));
    let last = last_event(&run);
    assert_eq!(
        (&last["event"], &last["epochs"]),
        (&"end".into(), &2.into())
    );
    let best = told("eval", &run, &["--best"]);
    assert_eq!(last["test_acc"], best["accuracy"]);
    assert!(run.join("report.html").exists());
    assert_eq!(told("runs", &run, &[])["runs"][0]["state"], "finished");
    resume(&run, &[])
        .success()
        .stdout("")
        .stderr(contains("is finished: 2 epochs"));
}

#[test]
fn weights_that_a_run_began_with_are_among_its_settings() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    train(&at("first"), &SMALL).assert().success();
    let mut second = resnet();
    second.current_dir(folder.path());
    second.args(
        "train --data sample --device cpu --batch-size 16 --limit-batches 3 --epochs 1".split(' '),
    );
    second
        .args("--init first --new-head --lr 0.01 --out second".split(' '))
        .assert()
        .success();
    let config: toml::Table = fs::read_to_string(at("second/config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let init = config["init"].as_str().unwrap();
    let weights = at("first/checkpoints/step-00000003/weights.safetensors");
    assert_eq!(
        Path::new(init).canonicalize().unwrap(),
        weights.canonicalize().unwrap()
    );
    assert_eq!(config["new_head"].as_bool(), Some(true));

    // The run whose weights they were goes on, and its newest ones are others.
    resume(&at("first"), &["--epochs", "2", "--keep", "2"]).success();
    let page = fs::read_to_string(at("second/report.html")).unwrap();
    let begin = page.find("<pre><code>").unwrap() + "<pre><code>".len();
    let end = begin + page[begin..].find("</code>").unwrap();
    let line = page[begin..end].replace("&#x2f;", "/");
    assert!(
        line.contains("--init ") && line.contains(" --new-head"),
        "{line}"
    );
    let mut again = resnet();
    again
        .args(line.split(' ').skip(1))
        .arg("--out")
        .arg(at("third"));
    again.assert().success();
    let mut from_file = resnet();
    from_file
        .args(["train", "--config"])
        .arg(at("second/config.toml"));
    from_file.arg("--out").arg(at("fourth")).assert().success();
    let newest = |run: &str| fs::read(at(run).join("last/weights.safetensors")).unwrap();
    assert!(newest("second") == newest("third") && newest("second") == newest("fourth"));
    resume(&at("second"), &["--epochs", "2"]).success();
    train(&at("fifth"), &["--new-head"])
        .assert()
        .code(2)
        .stderr(contains("name them by --init"));
}

/// A file of settings that was changed by hand.
#[test]
fn settings_that_do_not_fit_the_checkpoint_are_refused() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let more = [
        "--momentum",
        "0.9",
        "--save-every",
        "2",
        "--micro-batch",
        "8",
    ];
    train(&run, &more).assert().success();
    let path = run.join("config.toml");
    let intact = fs::read_to_string(&path).unwrap();
    let before = last_event(&run);
    for (old, new, words) in [
        (
            "batch_size = 16",
            "batch_size = 8",
            ["examples", "batch_size"],
        ),
        (
            "limit_batches = 3",
            "limit_batches = 2",
            ["3 steps", "limit_batches"],
        ),
        ("limit_batches = 3\n", "", ["would be 125", "limit_batches"]),
        (
            "micro_batch = 8",
            "micro_batch = 4",
            ["micro-batches", "micro_batch"],
        ),
        (
            "momentum = 0.9",
            "momentum = 0.0",
            ["state momentum.", "optimizer"],
        ),
        (
            "optimizer = \"sgd\"\nmomentum = 0.9",
            "optimizer = \"adamw\"\nmomentum = 0.0",
            ["state momentum.", "optimizer"],
        ),
        (
            "arch = \"resnet18\"",
            "arch = \"resnet34\"",
            ["another network", "settings"],
        ),
        (
            "image_size = 28",
            "image_size = 32",
            ["another network or image size", "settings"],
        ),
    ] {
        let changed = intact.replace(old, new);
        assert!(changed != intact, "{old}: {intact}");
        fs::write(&path, changed).unwrap();
        let says = contains(words[0]).and(contains(words[1]));
        resume(&run, &["--epochs", "2"]).code(1).stderr(says);
    }
    fs::write(&path, intact).unwrap();
    assert_eq!(last_event(&run)["event"], before["event"]);
    resume(&run, &["--epochs", "2"]).success();
}

#[test]
fn a_run_that_is_named_without_a_flag_is_answered_by_the_flag() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("runs/a b")).unwrap();
    let said = |args: &[&str]| {
        let mut command = resnet();
        let output = command
            .current_dir(folder.path())
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let tip = "train --resume 'runs/a b'";
    assert!(said(&["train", "runs/a b"]).contains(tip));
    assert!(!said(&["train", "runs/b"]).contains("--resume"));
    assert!(!said(&["shapes", "runs/a b"]).contains("--resume"));
}
