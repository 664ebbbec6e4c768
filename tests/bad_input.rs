//! What the program says to input that it cannot use, and to a training that went wrong.
use crate::cli::{resnet, train};
use crate::device;
use predicates::prelude::*;
use predicates::str::contains;
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
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 64) {
        let words = ["--threads 1024", "cores"];
        says("bench --device cpu --threads 1024", 1, &words);
    }
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
    says("bench --batch-size 1", 2, &["--batch-size", "--inference"]);
    says(
        "bench --precision bf16 --dump-wgsl shaders",
        2,
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
        .code(2);
    assert.stderr(predicate::str::contains("my.toml").and(predicate::str::contains("epochs")));
}

/// A setting is kept as text, which must not become another folder's name.
#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"no\xffutf8");
    let by_flag = resnet().args(["train", "--out"]).arg(name).assert();
    by_flag.failure().code(2).stderr(contains("UTF-8"));
    let by_variable = resnet().arg("train").env("RESNET_OUT", name).assert();
    let said = by_variable.failure().code(2);
    said.stderr(contains("RESNET_OUT must be valid UTF-8"));
}

/// Pairs of flags of which one would be ignored.
const CONFLICTS: &[&str] = &[
    "bench --predict --card x --trace t.json",
    "bench --predict --card x --profile",
    "bench --predict --card x --steps 3",
    "bench --predict --card x --device cpu",
    "bench --predict --card x --dump-graph",
    "bench --predict --card x --inference",
    "bench --predict",
    "bench --dump-graph --json",
    "bench --dump-graph --trace t.json",
    "bench --dump-graph --profile",
    "bench --dump-graph --steps 3",
    "bench --dump-graph --card x",
    "bench --dump-graph --peak 1 --bandwidth 1",
    "bench --dump-graph --dump-wgsl d",
    "bench --dump-wgsl d --json",
    "bench --dump-wgsl d --threads 2",
    "bench --dump-wgsl d --steps 2",
    "bench --peak 1",
    "bench --card nonsense",
    "bench --peak inf --bandwidth 1",
    "bench --checked --device cpu",
    "fetch --preview p.png --into d",
    "fetch --preview p.png --url http://localhost",
    "fetch --data sample",
    "config --reference --lr 0.1",
    "config --reference --config f.toml",
    "predict run --test-image 1 --background dark",
    "predict run boot.png --data sample",
    "train --resume run --init w.safetensors",
    "train --resume run --out r",
    "train --lr 0.1 --lr 0.2",
    "train --beta1 0.5",
    "train --nesterov",
    "train --threads 2 --device gpu",
    "verify --threads 2 --device gpu",
    "eval run --device=",
    "train --lr 1e-300",
];

#[test]
fn flags_of_which_one_would_be_ignored_conflict() {
    for line in CONFLICTS {
        let output = resnet().args(line.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).to_string();
        assert_eq!(output.status.code(), Some(2), "resnet {line}: {said}");
        assert!(output.stdout.is_empty(), "resnet {line}");
    }
}

#[test]
fn a_variable_that_names_a_setting_wrongly_is_refused_with_the_right_name() {
    for (name, value, says) in [
        ("RESNET_SHUFFLE", "false", "RESNET_NO_SHUFFLE"),
        ("RESNET_NO_FLIP", "1", "RESNET_FLIP=false"),
        ("RESNET_CONFIG", "my.toml", "--config FILE"),
        ("RESNET_SEED", "-1", "RESNET_SEED=-1: must be at least 0"),
        (
            "RESNET_THREADS",
            "0",
            "RESNET_THREADS=0: must be at least 1",
        ),
    ] {
        for command in ["train", "config"] {
            let mut resnet = resnet();
            let refused = resnet.arg(command).env(name, value).assert().code(2);
            refused.stderr(predicate::str::contains(says));
        }
    }
}
