//! How a run begins and ends: what is refused before anything is asked of a device, what observers are told, and
//! what a run that failed leaves.
use crate::checkpoints;
use crate::cli::{self, resnet};
use crate::small::{arch, config, few};
use crate::training::{sample, tensors};
use anyhow::{Result, bail};
use resnet::backend::cpu::Cpu;
use resnet::config::TrainConfig;
use resnet::train::{Cause, Event, Observer, Outcome, Start, Trainer, checkpoint};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The settings of so many epochs of two steps.
fn two_batches(epochs: usize) -> TrainConfig {
    let mut config = config(None, epochs);
    config.limit.limit_batches = Some(2);
    config
}

/// What `resnet train` says on a device that is not there, which is looked for last.
fn refused(out: &Path, more: &[&str]) -> String {
    let mut command = resnet();
    command.args([
        "train",
        "--data",
        "sample",
        "--device",
        "no-such-card",
        "--out",
    ]);
    let assert = command.arg(out).args(more).assert().failure();
    String::from_utf8_lossy(&assert.get_output().stderr).to_string()
}

#[test]
fn what_can_be_known_is_refused_before_a_device_is_opened() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let says = |out: &Path, more: &[&str], words: &[&str]| {
        let said = refused(out, more);
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    says(&out, &[], &["no-such-card"]);

    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    says(&taken, &[], &["no-such-card"]);
    fs::write(taken.join("mine.txt"), "text").unwrap();
    says(
        &taken,
        &[],
        &["taken already holds files", "another folder"],
    );
    says(
        &checkpoints::copy("1-f32").path().join("run"),
        &[],
        &["--resume"],
    );
    says(&taken.join("mine.txt"), &[], &["mine.txt", "not a folder"]);
    says(
        &taken.join("mine.txt/run"),
        &[],
        &["nothing can be written into", "mine.txt"],
    );

    let narrow = checkpoints::copy("1-f32");
    let narrow = narrow.path().join("run");
    let weights = narrow.join("checkpoints/step-00000003/weights.safetensors");
    let weights = weights.to_str().unwrap();
    says(
        &out,
        &["--init", weights, "--arch", "resnet34"],
        &[
            "--arch asks for resnet34",
            weights,
            "basic blocks 1,1 of width 8,12",
        ],
    );
    says(
        &out,
        &["--init", "Cargo.toml"],
        &["Cargo.toml", "safetensors"],
    );
    assert!(!out.exists());
}

#[test]
fn a_run_without_a_checkpoint_or_of_another_network_is_not_resumed() {
    let copy = checkpoints::copy("1-f32");
    let run = copy.path().join("run");
    let data = Arc::new(sample());
    let resume = |config, arch| {
        let trainer = Trainer::new(config, arch, data.clone(), Start::Resume(run.clone()));
        trainer.err().map(|error| error.to_string())
    };
    let config = || two_batches(2);
    assert_eq!(resume(config(), arch()), None);
    let mut larger = config();
    larger.model.image_size = 64;
    let said = resume(larger, arch()).unwrap();
    assert!(said.contains("another network or image size"), "{said}");
    let mut fewer = arch();
    fewer.stages.pop();
    let said = resume(config(), fewer).unwrap();
    assert!(said.contains("another network or image size"), "{said}");
    let mut coloured = arch();
    coloured.in_channels = 3;
    let said = resume(config(), coloured).unwrap();
    assert!(said.contains("10 classes and 3 channel(s)"), "{said}");

    let state = run.join("checkpoints/step-00000003/state.safetensors");
    fs::write(&state, "cut off").unwrap();
    let said = resume(config(), arch()).unwrap();
    assert!(
        said.contains("state.safetensors is not a complete"),
        "{said}"
    );
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let said = resume(config(), arch()).unwrap();
    assert!(said.contains("has no checkpoint"), "{said}");
}

#[test]
fn a_run_begins_with_the_weights_of_a_file() {
    let folder = TempDir::new().unwrap();
    let [first, second] = ["first", "second"].map(|run| folder.path().join(run));
    let weights = |run: &Path| checkpoint::weights_of(run).unwrap();
    cli::train(&first, &[]).assert().success();
    let init = weights(&first);
    // Steps so short that no weight moves.
    let more = ["--lr", "1e-30", "--seed", "1", "--init"];
    let mut command = cli::train(&second, &more);
    command.arg(&init).assert().success();
    let kernel = |file: &Path| tensors(file).remove("layer4.1.conv2.weight");
    assert!(kernel(&weights(&second)) == kernel(&init));
}

/// What a flag leaves open is as in the file, not as in the default network.
#[test]
fn flags_that_say_what_the_file_of_weights_holds_are_taken() {
    let narrow = checkpoints::copy("1-f32");
    let weights = checkpoint::weights_of(&narrow.path().join("run")).unwrap();
    let folder = TempDir::new().unwrap();
    let mut command = cli::train(&folder.path().join("run"), &["--widths", "8,12", "--init"]);
    command.arg(&weights).assert().success();
}

/// Writes down what it is told, and fails at an event.
struct Recorder {
    told: Arc<Mutex<Vec<String>>>,
    fails_at: &'static str,
}

impl Observer for Recorder {
    fn on(&mut self, event: &Event) -> Result<()> {
        let name = match event {
            Event::Planned { .. } => "planned",
            Event::Tuned { .. } => "tuned",
            Event::Started { .. } => "started",
            Event::Epoch { .. } => "epoch",
            Event::Step { .. } => "step",
            Event::Answers { .. } => "answers",
            Event::Saving => "saving",
            Event::Failed { .. } => "failed",
            Event::Saved { .. } => "saved",
            Event::Evaluated { .. } => "evaluated",
            Event::Finished { .. } => "finished",
            Event::AlreadyFinished { .. } => "already finished",
            Event::Interrupted { .. } => "interrupted",
        };
        self.told.lock().unwrap().push(name.to_string());
        if name == self.fails_at {
            bail!("the observer failed");
        }
        Ok(())
    }
}

/// Runs an epoch of two steps in `out`; what it told, and how it ended.
fn observed(out: &Path, fails_at: &'static str, stop: bool) -> (Vec<String>, Result<Outcome>) {
    let mut config = two_batches(1);
    config.run.out = Some(out.to_path_buf());
    let trainer = Trainer::new(config, arch(), Arc::new(few()), Start::Fresh).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder {
        told: Arc::clone(&told),
        fails_at,
    };
    let cpu = Box::new(Cpu::new().unwrap());
    let outcome = trainer.run(cpu, &mut [Box::new(recorder)], &AtomicBool::new(stop));
    let told = told.lock().unwrap().clone();
    (told, outcome)
}

#[test]
fn observers_are_told_of_all_in_order() {
    let folder = TempDir::new().unwrap();
    let (told, outcome) = observed(folder.path(), "", false);
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    let all = [
        "planned",
        "started",
        "epoch",
        "step",
        "step",
        "answers",
        "answers",
        "saving",
        "saved",
        "evaluated",
        "finished",
    ];
    assert_eq!(told, all);

    let folder = TempDir::new().unwrap();
    let (told, outcome) = observed(folder.path(), "", true);
    assert_eq!(outcome.unwrap(), Outcome::Interrupted(Cause::Asked));
    assert_eq!(
        told,
        [
            "planned",
            "started",
            "epoch",
            "step",
            "saving",
            "saved",
            "interrupted"
        ]
    );
}

#[test]
fn a_run_that_failed_before_its_first_checkpoint_leaves_no_folder() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    for fails_at in ["planned", "started", "epoch"] {
        let (_, outcome) = observed(&out, fails_at, false);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("the observer failed"), "{error}");
        assert!(!out.exists(), "{fails_at}");
    }
}

#[test]
fn a_run_whose_observer_fails_saves_before_it_ends() {
    for (fails_at, step) in [("step", 2), ("answers", 2), ("saving", 2), ("evaluated", 2)] {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("run");
        let (_, outcome) = observed(&out, fails_at, false);
        let error = outcome.unwrap_err().to_string();
        for word in [
            "the observer failed",
            "is saved; resume with",
            "train --resume",
        ] {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(out.join("config.toml").exists());
        let saved = format!("checkpoints/step-{step:08}/state.safetensors");
        assert!(out.join(saved).exists(), "{fails_at}");
    }
}
