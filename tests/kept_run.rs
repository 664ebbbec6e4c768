//! What a run's folder keeps, whatever stops its process and whoever else comes: one process per run, no checkpoint
//! and no row of the metrics lost, nothing written where there is nothing to do.
use crate::cli::{json, resnet};
use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use resnet::train::checkpoint;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A run of one epoch with three steps of a small network, unless more is said.
fn train(out: &Path, more: &[&str]) -> Command {
    let mut command = resnet();
    command.args("train --device cpu --image-size 28 --batch-size 16 --out".split(' '));
    let settings = [
        ("DATA", "sample"),
        ("LIMIT_BATCHES", "3"),
        ("EPOCHS", "1"),
        ("WIDTHS", "16,32"),
        ("BLOCKS", "1,1"),
    ];
    command.envs(settings.map(|(name, value)| (format!("RESNET_{name}"), value)));
    command.arg(out).args(more);
    command
}

/// A run of two epochs with three steps each.
fn two_epochs(folder: &TempDir) -> PathBuf {
    let run = folder.path().join("run");
    train(&run, &["--epochs", "2"]).assert().success();
    run
}

fn resume(run: &Path, more: &[&str]) -> Assert {
    let mut command = resnet();
    command.args(["train", "--resume"]).arg(run).args(more);
    command.assert()
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

#[test]
fn a_run_has_one_process() {
    let folder = TempDir::new().unwrap();
    let run = two_epochs(&folder);
    let lock = run.join(".lock");
    let held = File::options().write(true).open(&lock).unwrap();
    held.lock().unwrap();
    fs::write(&lock, "4711").unwrap();
    let told = contains("is being trained by process 4711");
    resume(&run, &["--epochs", "3"])
        .failure()
        .stderr(told.clone());

    // Another one that has not come to its first checkpoint.
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::copy(&lock, out.join(".lock")).unwrap();
    let held = File::options().write(true).open(out.join(".lock")).unwrap();
    held.lock().unwrap();
    train(&out, &[]).assert().failure().stderr(told);
    assert_eq!(names(&out), [".lock"]);
    fs::write(out.join("config.toml"), "seed = 3\n").unwrap();
    resume(&out, &[])
        .failure()
        .stderr(contains("is being trained by process 4711"));

    // Its process is killed, and its folder free again.
    fs::write(out.join("config.toml"), "seed = 3\n").unwrap();
    fs::create_dir_all(checkpoints(&out).join(".new-cut")).unwrap();
    drop(held);
    train(&out, &[]).assert().success();
    assert_eq!(names(&checkpoints(&out)), ["step-00000003"]);
    // A file of settings that somebody wrote is no run's.
    let mine = folder.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("config.toml"), "seed = 3\n").unwrap();
    train(&mine, &[]).assert().failure();
}

#[test]
fn a_checkpoint_between_two_names_is_found_and_leftovers_go() {
    let folder = TempDir::new().unwrap();
    let run = two_epochs(&folder);
    let at = checkpoints(&run);
    let newest = checkpoint::latest(&run).unwrap();
    let weights = fs::read(newest.join("weights.safetensors")).unwrap();
    for place in [".old-a/checkpoint", ".new-b"] {
        let moved = at.join(place);
        fs::create_dir_all(moved.parent().unwrap()).unwrap();
        fs::rename(&newest, &moved).unwrap();
        fs::create_dir(at.join(".new-c")).unwrap();
        fs::write(at.join(".new-c/weights.safetensors"), "cut").unwrap();
        fs::write(run.join(".tmpd"), "cut").unwrap();
        resnet().arg("eval").arg(&run).assert().success();
        resume(&run, &[]).success().stderr(contains("is finished"));
        assert_eq!(
            fs::read(newest.join("weights.safetensors")).unwrap(),
            weights
        );
        assert!(
            names(&at).iter().all(|name| name.starts_with("step-")),
            "{:?}",
            names(&at)
        );
        assert!(!run.join(".tmpd").exists());
    }
}

#[test]
fn a_finished_run_says_so_and_keeps_its_files() {
    let folder = TempDir::new().unwrap();
    let run = two_epochs(&folder);
    let [config, metrics] = ["config.toml", "metrics.csv"].map(|name| run.join(name));
    let before = [&config, &metrics].map(|path| fs::read(path).unwrap());
    resume(&run, &["--lr", "0.5"])
        .success()
        .stderr(contains("is finished: 2 epochs").and(contains("--epochs 4")));
    resume(&run, &["--epochs", "1"])
        .failure()
        .stderr(contains("--epochs 1").and(contains("in its epoch 2 already")));
    assert_eq!(
        [&config, &metrics].map(|path| fs::read(path).unwrap()),
        before
    );

    // Killed between the checkpoint and the row.
    fs::remove_file(&metrics).unwrap();
    resume(&run, &[]).success();
    assert_eq!(fs::read(&metrics).unwrap(), before[1]);

    resume(&run, &["--epochs", "3", "--lr", "0.5"]).success();
    let mut csv = csv::Reader::from_path(&metrics).unwrap();
    let at = csv
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "lr")
        .unwrap();
    let rates: Vec<String> = csv
        .records()
        .map(|row| row.unwrap()[at].to_string())
        .collect();
    assert_eq!(rates, ["0.05", "0.05", "0.5"]);
}

#[test]
fn a_run_that_diverges_saves_nothing_that_cannot_go_on() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let more = ["--limit-batches", "1", "--lr", "1e20"];
    let says = contains("the loss on the test images is").and(contains("try --lr 0.05"));
    train(&run, &more).assert().code(1).stderr(says);
    assert!(!run.exists());

    // Weights that are finite, and too large for a finite loss.
    let first = two_epochs(&folder);
    let file = checkpoint::weights_of(&first).unwrap();
    let bytes = fs::read(&file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let told = header.metadata().clone().unwrap();
    let large = folder.path().join("large.safetensors");
    write(&large, &bytes, told, |name, data| {
        let is_weight = name == "fc.weight";
        data.chunks_exact_mut(4)
            .filter(|_| is_weight)
            .for_each(|value| value.copy_from_slice(&3e38_f32.to_le_bytes()));
    });
    let says = contains("the training loss is ")
        .and(contains("after step 1,").and(contains("the learning rate is not the cause")))
        .and(contains("the weights of --init").and(contains("verify")));
    let init = ["--init", large.to_str().unwrap()];
    train(&folder.path().join("other"), &init)
        .assert()
        .code(1)
        .stderr(says);
}

/// Rewrites what a safetensors file tells in its metadata.
fn rewrite(file: &Path, change: impl Fn(&mut Value)) {
    let bytes = fs::read(file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut told = header.metadata().clone().unwrap();
    let mut value: Value = serde_json::from_str(&told["resnet"]).unwrap();
    change(&mut value);
    told.insert("resnet".to_string(), value.to_string());
    write(file, &bytes, told, |_, _| {});
}

/// Writes a safetensors file again with other metadata and values.
fn write(
    file: &Path,
    bytes: &[u8],
    told: HashMap<String, String>,
    change: impl Fn(&str, &mut [u8]),
) {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let changed: Vec<_> = tensors
        .iter()
        .map(|(name, view)| {
            let mut data = view.data().to_vec();
            change(name, &mut data);
            (name, view.dtype(), view.shape().to_vec(), data)
        })
        .collect();
    let views = changed.iter().map(|(name, dtype, shape, data)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data);
        (name, view.unwrap())
    });
    fs::write(file, safetensors::serialize(views, Some(told)).unwrap()).unwrap();
}

#[test]
fn a_position_that_contradicts_itself_is_refused() {
    let folder = TempDir::new().unwrap();
    let run = two_epochs(&folder);
    let newest = checkpoint::latest(&run).unwrap();
    let state = newest.join("state.safetensors");
    let intact = fs::read(&state).unwrap();
    let lies: [(&str, Value, &str); 9] = [
        ("/epoch", json!(3), "epoch 3 is at work, but 2 are finished"),
        ("/history", json!([]), "but 0 are finished"),
        ("/history/0/epoch", json!(7), "epoch 1 is called 7"),
        (
            "/history/1/step",
            json!(2),
            "ends at step 2, after one that ends at step 3",
        ),
        ("/batch", json!(2), "2 batches follow"),
        ("/step", json!(4), "it is at step 4"),
        (
            "/sums/examples",
            json!(1),
            "1 examples were seen in 0 batches",
        ),
        ("/sums/correct", json!(99), "99 of 0 examples were right"),
        ("/seconds", json!(-1.0), "it took -1 seconds"),
    ];
    let older = checkpoints(&run).join("step-00000003");
    fs::remove_dir_all(older).ok();
    for (place, lie, words) in lies {
        fs::write(&state, &intact).unwrap();
        rewrite(&state, |told| {
            *told.pointer_mut(place).unwrap() = lie.clone()
        });
        let says = contains("contradicts itself").and(contains(words));
        resume(&run, &[]).code(1).stderr(says);
    }
    fs::write(&state, &intact).unwrap();
    fs::rename(newest, checkpoints(&run).join("step-00000007")).unwrap();
    let says = contains("is of step 6, but its folder is called after step 7");
    resume(&run, &[]).code(1).stderr(says);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let folder = TempDir::new().unwrap();
    let run = two_epochs(&folder);
    let file = checkpoint::weights_of(&run).unwrap();
    let bytes = fs::read(&file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let told = header.metadata().clone().unwrap();
    write(&file, &bytes, told, |name, data| {
        if name == "fc.weight" {
            data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
    });
    let says = || contains("fc.weight").and(contains("not finite"));
    resnet()
        .arg("eval")
        .arg(&file)
        .assert()
        .code(1)
        .stderr(says());
    let out = folder.path().join("out");
    let init = ["--init", file.to_str().unwrap()];
    train(&out, &init).assert().code(1).stderr(says());
    resume(&run, &["--epochs", "3"]).stderr(says());
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_taken() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let [first, second] =
        ["step-00000003", "step-00000006"].map(|name| checkpoints(&run).join(name));
    let aside = folder.path().join("aside");
    copy(&first, &aside);
    resume(&run, &["--epochs", "2"]).success();
    let bits = fs::read(second.join("weights.safetensors")).unwrap();
    for file in ["state.safetensors", "weights.safetensors"] {
        copy(&aside, &first);
        fs::write(second.join(file), "cut off").unwrap();
        let says = contains(file).and(contains("step-00000003 before it is taken instead"));
        resume(&run, &[]).success().stderr(says);
        assert_eq!(fs::read(second.join("weights.safetensors")).unwrap(), bits);
    }
}

/// Copies the files of a folder into another one.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_run_is_found_from_everywhere() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/sample"),
        &data,
    );
    let run = folder.path().join("run");
    let mut command = train(&run, &["--data", "data"]);
    command.current_dir(folder.path()).assert().success();
    let output = resnet()
        .args(["eval", "--best", "--json"])
        .arg(&run)
        .output();
    let report = json(&output.unwrap().stdout);
    assert_eq!(report["examples"], 48);
    let weights = report["checkpoint"].as_str().unwrap();
    assert!(weights.ends_with("weights.safetensors"), "{weights}");

    let says = contains("limit_batches in").and(contains("48 of 500 test images"));
    resnet()
        .arg("eval")
        .arg(&run)
        .assert()
        .success()
        .stderr(says);
    fs::remove_dir_all(&data).unwrap();
    let says = contains("config.toml names the data").and(contains("does not exist"));
    resnet().arg("eval").arg(&run).assert().code(1).stderr(says);
    let part = checkpoint::latest(&run).unwrap();
    let says = contains("is a part of a run").and(contains("--resume"));
    resume(&part, &[]).code(1).stderr(says);
    let state = part.join("state.safetensors");
    let says = contains("holds the optimiser's states");
    resnet()
        .arg("eval")
        .arg(&state)
        .assert()
        .code(1)
        .stderr(says);
}
