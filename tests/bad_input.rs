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
    failed.stderr(predicate::str::contains("at step 2").or(predicate::str::contains("at step 3")));
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
    says("shapes --image-size 0", 1, &["--image-size"]);
    says("bench --steps 0", 1, &["--steps"]);
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
