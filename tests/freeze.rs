//! Fine-tuning: what is frozen stays to the last bit, and costs nothing on the way back.
use crate::cli::{json, resnet};
use crate::device;
use assert_cmd::Command;
use predicates::str::contains;
use resnet::train::checkpoint;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// One step, on a network of two stages.
fn train(out: &Path, more: &[&str]) -> Command {
    let mut command = resnet();
    command.args("train --device cpu --data sample --epochs 1 --limit-batches 1".split(' '));
    command.args("--image-size 16 --batch-size 16 --out".split(' '));
    command.arg(out).args(more);
    command
}

const NETWORK: [&str; 4] = ["--widths", "4,8", "--blocks", "1,2"];

/// The tensors after the run, but for the counts of batches.
fn trained(out: &Path, more: &[&str]) -> BTreeMap<String, Vec<u8>> {
    train(out, more).assert().success();
    let weights = checkpoint::weights_in(&checkpoint::latest(out).unwrap());
    let bytes = fs::read(weights).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = file.iter().filter(|(name, _)| !name.ends_with("tracked"));
    values
        .map(|(name, view)| (name.to_string(), view.data().to_vec()))
        .collect()
}

#[test]
fn frozen_layers_stay_and_all_others_move() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let before = trained(&at("before"), &NETWORK);
    let init = at("before");
    for (i, (freeze, frozen)) in [
        ("stem,layer1", &["conv1", "bn1", "layer1"][..]),
        // In the middle, gradients go through running statistics.
        ("layer1", &["layer1"]),
        ("stem,layer1,layer2", &["conv1", "bn1", "layer1", "layer2"]),
    ]
    .into_iter()
    .enumerate()
    {
        let tune = |name: &str, more: &[&str]| {
            let init = ["--init", init.to_str().unwrap(), "--freeze", freeze];
            trained(&at(&format!("{name}{i}")), &[&init[..], more].concat())
        };
        let after = tune(
            "fused",
            &["--momentum", "0.9", "--weight-decay", "0.01", "--decay-all"],
        );
        for (name, values) in &after {
            let held = frozen.contains(&name.split('.').next().unwrap());
            // A bias before a BatchNorm has no gradient, but decays.
            assert_eq!(before[name] == *values, held, "{freeze}: {name}");
        }
        let plain = [
            "--momentum",
            "0.9",
            "--weight-decay",
            "0.01",
            "--decay-all",
            "--no-fuse",
        ];
        // A BatchNorm of running statistics is folded into its convolution, which rounds otherwise.
        for (name, plain) in tune("plain", &plain) {
            let [fused, plain] = [&after[&name], &plain].map(|bytes| device::floats(bytes));
            let most = plain
                .iter()
                .fold(0.0_f32, |most, value| most.max(value.abs()));
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * most;
            assert!(fused.iter().zip(&plain).all(near), "{freeze}: {name}");
        }
    }
}

#[test]
fn micro_batches_and_averages_leave_out_what_is_frozen() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let before = trained(&at("before"), &NETWORK);
    let init = at("before");
    let more = [
        "--freeze",
        "stem,layer1",
        "--micro-batch",
        "8",
        "--ema",
        "0.9",
    ];
    let after = trained(
        &at("after"),
        &[&["--init", init.to_str().unwrap()], &more[..]].concat(),
    );
    assert_eq!(
        before["layer1.0.conv1.weight"],
        after["layer1.0.conv1.weight"]
    );
    assert_ne!(
        before["layer2.0.conv1.weight"],
        after["layer2.0.conv1.weight"]
    );
    let resume = ["train", "--epochs", "2", "--resume"];
    resnet().args(resume).arg(at("after")).assert().success();
}

#[test]
fn the_backbone_has_a_learning_rate_of_its_own() {
    let folder = TempDir::new().unwrap();
    let run = |name: &str, rates: &[&str]| {
        trained(&folder.path().join(name), &[&NETWORK[..], rates].concat())
    };
    let slow = run("slow", &["--lr", "0.125"]);
    let scaled = run("scaled", &["--lr", "0.25", "--lr-scale-backbone", "0.5"]);
    for (name, values) in &slow {
        assert_eq!(*values == scaled[name], !name.starts_with("fc."), "{name}");
    }
}

#[test]
fn what_is_frozen_is_left_out_of_the_plan() {
    let flops = |more: &[&str]| {
        let mut bench = resnet();
        bench.args("bench --json --steps 1 --image-size 32 --batch-size 4 --device cpu".split(' '));
        let measured = bench.args(NETWORK).args(more).assert().success();
        let report = json(&measured.get_output().stdout);
        ["flops", "memory_bytes"].map(|key| report["plan"][key].as_u64().unwrap())
    };
    let [all, memory] = flops(&[]);
    let [tuned, less] = flops(&["--freeze", "stem,layer1"]);
    assert!(3 * tuned < 2 * all, "{tuned} {all}");
    assert!(less < memory, "{less} {memory}");
}

#[test]
fn parts_that_there_are_not_are_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    for (freeze, why) in [
        ("layer3", "stem and layer1 to layer2"),
        ("fc", "always trained"),
        ("head", "must be stem, layer1"),
        ("", "must be stem, layer1"),
    ] {
        let refused = train(&out, &[&NETWORK[..], &["--freeze", freeze]].concat());
        let mut refused = refused;
        refused.assert().failure().stderr(contains(why));
        assert!(!out.exists());
    }
    let mut bench = resnet();
    bench.args("bench --device cpu --image-size 32 --batch-size 4 --freeze layer3".split(' '));
    let refused = bench.args(NETWORK).assert().failure().code(2);
    refused.stderr(contains("stem and layer1 to layer2"));
}
