//! What the program says to input that it cannot use, and to a training that went wrong.
use crate::cli::{resnet, train};
use crate::device;
use predicates::prelude::*;
use std::fs;
use tempfile::TempDir;

#[test]
fn a_diverging_run_stops_and_names_the_step() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let failed = train(&run, &["--lr", "1e30"]).assert().failure().code(1);
    failed.stderr(
        predicate::str::contains("after step 2").or(predicate::str::contains("after step 3")),
    );
}

#[test]
fn bad_input_is_named_with_the_next_command() {
    let says = |args: &str, code: i32, words: &[&str]| {
        let assert = resnet().args(args.split(' ')).assert().failure().code(code);
        for word in words {
            let text = String::from_utf8_lossy(&assert.get_output().stderr).to_string();
            assert!(
                text.contains(word),
                "`resnet {args}` should say {word:?}: {text}"
            );
        }
    };
    says("train --epoch 3", 2, &["--epochs"]);
    says(
        "train --data /nonexistent",
        1,
        &[
            "/nonexistent",
            "resnet fetch",
            "--data sample",
            "dataset-fashion-mnist",
        ],
    );
    says(
        "train --config /nonexistent.toml",
        1,
        &["/nonexistent.toml"],
    );
    says(
        "train --data sample --device no-such-card",
        1,
        &["no-such-card", "resnet devices"],
    );
    says("train --data sample --lr -1", 2, &["--lr", "-1"]);
    says("train --data sample --batch-size 0", 2, &["--batch-size"]);
    says("train --resume /nonexistent", 1, &["/nonexistent"]);
    says("eval /nonexistent", 1, &["/nonexistent"]);
    says(
        "eval Cargo.toml --device cpu",
        1,
        &["Cargo.toml", "safetensors"],
    );
    says("predict /nonexistent boot.png", 1, &["/nonexistent"]);
    says("verify --cases /nonexistent", 1, &["/nonexistent"]);
    says("shapes --image-size 0", 2, &["--image-size"]);
    says("bench --steps 0", 2, &["--steps"]);
    says("bench --batch-size 1", 1, &["--batch-size", "--inference"]);
    says(
        "bench --precision bf16 --dump-wgsl shaders",
        1,
        &["--dump-wgsl", "no bfloat16", "--precision f16"],
    );
    if device::adapter().is_some() {
        says(
            "train --data sample --device gpu --precision bf16",
            1,
            &["no bfloat16", "--precision f16", "--device cpu"],
        );
    }
}

/// The flags with whole numbers, and commands that take them.
const WHOLE: [(&str, &str); 14] = [
    ("train", "--threads"),
    ("train", "--val-split"),
    ("train", "--limit-batches"),
    ("train", "--batch-size"),
    ("train", "--micro-batch"),
    ("train", "--image-size"),
    ("train", "--warmup"),
    ("train", "--epochs"),
    ("train", "--seed"),
    ("train", "--save-every"),
    ("shapes", "--image-size"),
    ("bench", "--steps"),
    ("verify", "--threads"),
    ("eval none", "--batch-size"),
];

#[test]
fn a_number_beyond_its_range_is_refused_with_the_reason() {
    for (command, flag) in WHOLE {
        for value in ["9223372036854775808", "18446744073709551616", "-1", "1e3"] {
            let mut resnet = resnet();
            let refused = resnet.args(command.split(' ')).args([flag, value]);
            let refused = refused.assert().failure().code(2);
            let said = String::from_utf8_lossy(&refused.get_output().stderr).to_string();
            let words = [flag, value, "must be"];
            let missing = words.iter().find(|word| !said.contains(*word));
            assert_eq!(missing, None, "{command}: {said}");
            let reason = said.contains("must be at most") && said.contains(", ");
            assert!(value.len() < 5 || reason, "{command}: {said}");
        }
    }
}

#[test]
fn shapes_takes_the_variable_of_its_setting_and_else_the_chapters_size() {
    let first_line = |variable: Option<&str>, more: &[&str]| {
        let mut command = resnet();
        command.args(["shapes"]).args(more);
        if let Some(size) = variable {
            command.env("RESNET_IMAGE_SIZE", size);
        }
        let output = command.assert().success().get_output().stdout.clone();
        String::from_utf8(output)
            .unwrap()
            .lines()
            .next()
            .map(str::to_string)
    };
    let ends = |line: Option<String>, words: &str| assert!(line.unwrap().ends_with(words));
    ends(first_line(None, &[]), "(1, 64, 112, 112)");
    ends(first_line(Some("28"), &[]), "(1, 64, 14, 14)");
    ends(
        first_line(Some("28"), &["--image-size", "96"]),
        "(1, 64, 48, 48)",
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my.toml");
    fs::write(&file, "epoch = 3\n").unwrap();
    let assert = resnet()
        .arg("train")
        .arg("--config")
        .arg(&file)
        .assert()
        .failure()
        .code(1);
    assert.stderr(predicate::str::contains("my.toml").and(predicate::str::contains("epochs")));
}
