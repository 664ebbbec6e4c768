//! What becomes of a run that stops: one in micro-batches goes on with the same bits, wherever it stopped
//! and whatever stopped it.
use crate::cli;
use crate::device;
use crate::small::{config, train_in};
use crate::training::{devices, precision};
use anyhow::Result;
use assert_cmd::Command;
use predicates::prelude::*;
use resnet::backend::gpu::{Fault, Options};
use resnet::backend::{Backend, Failure};
use resnet::tensor::DType;
use resnet::train::checkpoint;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// Trains until `epochs` in `folder`, resuming what is there: 14 images in batches of 8, by threes.
fn run(folder: &Path, backend: Box<dyn Backend>, epochs: usize) -> Result<()> {
    run_stored(folder, backend, epochs, DType::F32)
}

fn run_stored(
    folder: &Path,
    backend: Box<dyn Backend>,
    epochs: usize,
    stored: DType,
) -> Result<()> {
    let mut config = config(Some(3), epochs);
    config.hardware.precision = precision(stored);
    // The test is not what is tested.
    config.limit.limit_batches = Some(2);
    config.run.save_every = Some(3);
    train_in(folder, config, backend)
}

/// The files of the newest checkpoint.
fn newest(folder: &Path) -> Vec<Vec<u8>> {
    let newest = checkpoint::latest(folder).unwrap();
    let weights = std::fs::read(newest.join("weights.safetensors")).unwrap();
    let state = std::fs::read(newest.join("state.safetensors")).unwrap();
    // The metadata of the state tell the seconds, which no two runs share; the momenta follow them.
    let header = u64::from_le_bytes(state[..8].try_into().unwrap()) as usize;
    vec![weights, state[8 + header..].to_vec()]
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn a_resumed_run_of_micro_batches_has_the_bits_of_an_unbroken_one() {
    for stored in [DType::F32, DType::F16] {
        for (name, open) in devices(stored) {
            let (unbroken, broken) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            run_stored(unbroken.path(), open(), 2, stored).unwrap();
            run_stored(broken.path(), open(), 1, stored).unwrap();
            run_stored(broken.path(), open(), 2, stored).unwrap();
            let same = newest(unbroken.path()) == newest(broken.path());
            assert!(same, "{name}, {stored}");
        }
    }
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn a_lost_device_leaves_a_checkpoint_that_goes_on_with_the_same_bits() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    let open = |fault| -> Box<dyn Backend> {
        let options = Options {
            fault,
            ..Options::default()
        };
        Box::new(device::open(adapter, options))
    };
    let (unbroken, broken) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    run(unbroken.path(), open(None), 3).unwrap();
    // A step has 3 passes or 2 and an update, a test of 16 examples 6 passes: the device goes in the fourth step,
    // the second of the second epoch, after the third was saved.
    let fault = |failure| Some(Fault { after: 19, failure });
    let said = |folder: &TempDir, failure| {
        let error = run(folder.path(), open(fault(failure)), 3).unwrap_err();
        format!("{error:#}")
    };
    let text = said(&broken, Failure::Lost);
    let resume = format!(" train --resume {}", broken.path().display());
    for word in [
        &adapter.name,
        "the device was lost",
        "step-00000003",
        &resume,
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("--micro-batch"), "{text}");
    run(broken.path(), open(None), 3).unwrap();
    assert!(newest(unbroken.path()) == newest(broken.path()));

    let full = TempDir::new().unwrap();
    let text = said(&full, Failure::OutOfMemory);
    let init = "step-00000003/weights.safetensors --micro-batch 2";
    for word in [&adapter.name, "out of memory", "--resume", init] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn a_device_lost_before_the_first_checkpoint_says_so() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    let fault = Some(Fault {
        after: 2,
        failure: Failure::Lost,
    });
    let options = Options {
        fault,
        ..Options::default()
    };
    let folder = TempDir::new().unwrap();
    let gpu = Box::new(device::open(adapter, options));
    let error = run(folder.path(), gpu, 1).unwrap_err().to_string();
    assert!(error.contains("after step 0"), "{error}");
    assert!(error.contains("no checkpoint yet"), "{error}");
}

#[test]
fn the_number_that_auto_came_to_is_kept_and_may_not_change() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let micro = |run: &Path| {
        let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        config["micro_batch"].as_integer()
    };
    cli::train(&run, &["--micro-batch", "auto"])
        .assert()
        .success();
    assert_eq!(micro(&run), Some(16));

    let parts = folder.path().join("parts");
    cli::train(&parts, &["--micro-batch", "6", "--save-every", "2"])
        .assert()
        .success()
        .stderr(predicate::str::contains(
            "gradient accumulation: micro-batches of 6, batch 16",
        ));
    assert_eq!(micro(&parts), Some(6));
    let resume = |more: &[&str]| {
        let mut command = cli::resnet();
        command.args(["train", "--epochs", "2", "--resume"]);
        command.arg(&parts).args(more).assert()
    };
    resume(&["--micro-batch", "8"])
        .failure()
        .stderr(predicate::str::contains("a resumed run keeps its settings"));
    resume(&["--save-every", "1"]).success();

    let eval = cli::resnet().arg("eval").arg(&parts).arg("--json").output();
    let report: Value = serde_json::from_slice(&eval.unwrap().stdout).unwrap();
    let metrics = std::fs::read_to_string(parts.join("metrics.csv")).unwrap();
    let last = metrics.lines().last().unwrap();
    let loss = report["loss"].as_f64().unwrap();
    assert!(last.contains(&format!(",{loss},")), "{loss}: {last}");
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_from_within_its_epoch_with_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let (unbroken, broken) = (folder.path().join("unbroken"), folder.path().join("broken"));
    let run = |out: &Path| {
        let mut command = cli::resnet();
        command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
        command.args("--epochs 1 --limit-batches 40 --momentum 0.9 --micro-batch 8".split(' '));
        command.args(cli::SMALL);
        command
            .args("--schedule cosine --warmup 10 --save-every 3 --out".split(' '))
            .arg(out);
        command
    };
    run(&unbroken).assert().success();
    let args: Vec<String> = run(&broken)
        .get_args()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    // No checkpoint of an epoch is there yet when the first of three steps is.
    let script = format!(
        "{} {} & child=$!
        until ls {}/checkpoints | grep -q step; do sleep 0.02; done
        kill -KILL $child; wait $child",
        assert_cmd::cargo::cargo_bin("resnet").display(),
        args.join(" "),
        broken.display()
    );
    let script = Command::new("sh").args(["-c", &script]).assert();
    script.code(137);
    let mut resume = cli::resnet();
    resume.args(["train", "--resume"]).arg(&broken);
    resume.assert().success();
    assert!(newest(&unbroken) == newest(&broken));
}
