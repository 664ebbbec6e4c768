//! The program as a person runs it: real files, real exit codes, and what it says to bad input.
use crate::device;
use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

pub fn resnet() -> Command {
    let mut command = Command::cargo_bin("resnet").unwrap();
    // What the tester's own shell sets must not change what is tested.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RESNET_")) {
        command.env_remove(name);
    }
    command
}

/// A run of a second: the embedded sample at 28×28 on the CPU.
pub fn train(out: &Path, more: &[&str]) -> Command {
    let mut command = resnet();
    command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
    command
        .args(["--limit-batches", "3", "--epochs", "1", "--out"])
        .arg(out)
        .args(more);
    command
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn shapes_prints_the_chapters_lines() {
    let output = resnet().arg("shapes").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shapes: Vec<&str> = text.lines().map(|l| &l[l.find('(').unwrap()..]).collect();
    assert_eq!(
        shapes,
        [
            "(1, 64, 112, 112)",
            "(1, 64, 112, 112)",
            "(1, 64, 112, 112)",
            "(1, 64, 56, 56)",
            "(1, 64, 56, 56)",
            "(1, 128, 28, 28)",
            "(1, 256, 14, 14)",
            "(1, 512, 7, 7)",
            "(1, 512, 1, 1)",
            "(1, 10)"
        ]
    );
    let nhwc = resnet()
        .args(["shapes", "--layout", "nhwc"])
        .assert()
        .success();
    nhwc.stdout(predicate::str::contains("(1, 14, 14, 256)"));
}

#[test]
fn shapes_counts_parameters_and_multiply_adds() {
    for (size, macs) in [("96", 318_657_536u64), ("224", 1_734_890_496)] {
        let output = resnet()
            .args(["shapes", "--json", "--image-size", size])
            .output()
            .unwrap();
        let report = json(&output.stdout);
        assert_eq!(report["params"], 11_178_378);
        assert_eq!(report["macs"], macs);
    }
    let table = resnet()
        .args(["shapes", "--table", "--image-size", "96"])
        .assert()
        .success();
    table.stdout(
        predicate::str::contains("layer3.0.downsample.0")
            .and(predicate::str::contains("318657536")),
    );
}

#[test]
fn a_run_is_trained_evaluated_and_extended() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let lines = predicate::str::is_match(
        r"^loss \d\.\d{3}, train acc \d\.\d{3}, test acc \d\.\d{3}\n\d+\.\d examples/sec on cpu .*\n$",
    );
    train(&run, &[]).assert().success().stdout(lines.unwrap());

    let eval = resnet()
        .arg("eval")
        .arg(&run)
        .args(["--device", "cpu", "--json"])
        .output()
        .unwrap();
    let report = json(&eval.stdout);
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(metrics.as_bytes());
    let header = rows.headers().unwrap().clone();
    let row = rows.records().next().unwrap().unwrap();
    let column = |name: &str| {
        row[header.iter().position(|h| h == name).unwrap()]
            .parse::<f64>()
            .unwrap()
    };
    assert_eq!(report["accuracy"].as_f64().unwrap(), column("test_acc"));
    assert_eq!(report["loss"].as_f64().unwrap(), column("test_loss"));
    assert_eq!(report["examples"], 48);
    assert_eq!(report["confusion"].as_array().unwrap().len(), 10);
    assert_eq!(report["per_class"].as_object().unwrap().len(), 10);

    // A file of weights is enough for an evaluation.
    let weights = fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let alone = resnet()
        .arg("eval")
        .arg(weights.join("weights.safetensors"))
        .args("--device cpu --data sample --batch-size 16 --limit-batches 3 --json".split(' '))
        .output()
        .unwrap();
    assert_eq!(json(&alone.stdout)["loss"], report["loss"]);

    resnet()
        .arg("train")
        .arg("--resume")
        .arg(&run)
        .args(["--epochs", "2"])
        .assert()
        .success();
    assert_eq!(
        fs::read_to_string(run.join("metrics.csv"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    train(&run, &[])
        .assert()
        .failure()
        .code(1)
        .stderr(predicate::str::contains("--resume"));
}

#[test]
fn predict_answers_for_files_and_for_test_images() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let data = resnet::data::load(Some("sample")).unwrap();
    let pixels = data.test.pixels[7 * 784..8 * 784].to_vec();
    let garment = image::GrayImage::from_raw(28, 28, pixels).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    // As the test set has it; dark on white in colour; large, as a photo. The ending tells nothing.
    garment.save(file("dark.png")).unwrap();
    let mut light = garment.clone();
    image::imageops::invert(&mut light);
    let light = image::DynamicImage::from(light).to_rgb16();
    light.save(file("light.png")).unwrap();
    let filter = image::imageops::FilterType::Nearest;
    let large = image::imageops::resize(&garment, 280, 280, filter);
    large.save(file("large.jpg")).unwrap();
    fs::rename(file("large.jpg"), file("large.photo")).unwrap();

    let predict = |more: &str| {
        let mut command = resnet();
        command.arg("predict").arg(&run).args(["--device", "cpu"]);
        command.args(more.split_whitespace());
        command
    };
    let names = ["dark.png", "light.png", "large.photo"].map(file);
    let files = names.join(" ");
    let args = format!("{files} --test-image 0,7 --top 10 --json");
    let output = predict(&args).output().unwrap();
    let report = json(&output.stdout);
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 5);
    for (image, name) in images.iter().zip(&names) {
        assert_eq!(image["image"], **name);
        assert!(image["label"].is_null());
    }
    let label = &data.classes[data.test.labels[7] as usize];
    assert_eq!(images[4]["label"], **label);
    let inverted = images.iter().map(|i| i["inverted"].as_bool().unwrap());
    assert_eq!(
        inverted.collect::<Vec<_>>(),
        [false, true, false, false, false]
    );
    assert_eq!(images[0]["classes"], images[4]["classes"]);
    assert_eq!(images[1]["classes"], images[4]["classes"]);
    assert_ne!(images[3]["classes"], images[4]["classes"]);
    for image in images {
        let classes = image["classes"].as_array().unwrap();
        let probability = |class: &Value| class["probability"].as_f64().unwrap();
        let all: Vec<f64> = classes.iter().map(probability).collect();
        assert!(all.is_sorted_by(|a, b| a >= b), "{all:?}");
        assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{all:?}");
        assert_eq!(all.len(), 10);
    }

    // The answers of `predict` are those that `eval` counts.
    let all: Vec<String> = (0..48).map(|i| i.to_string()).collect();
    let args = format!(
        "--test-image {} --batch-size 16 --top 1 --json",
        all.join(",")
    );
    let each = json(&predict(&args).output().unwrap().stdout);
    let each = each["images"].as_array().unwrap();
    let right = each
        .iter()
        .filter(|i| i["classes"][0]["class"] == i["label"]);
    let mut eval = resnet();
    eval.arg("eval")
        .arg(&run)
        .args(["--device", "cpu", "--json"]);
    let report = json(&eval.output().unwrap().stdout);
    assert_eq!(report["accuracy"], right.count() as f64 / 48.0);

    let mut text = predict(&format!("{} --test-image 7 --ground light", names[0]));
    let text = String::from_utf8(text.output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with(&format!("{} (inverted) ", names[0])),
        "{text}"
    );
    assert!(
        lines[1].starts_with(&format!("test image 7 ({label}) ")),
        "{text}"
    );

    fs::write(file("cut.png"), &fs::read(file("dark.png")).unwrap()[..100]).unwrap();
    let says = |args: &str, code: i32, words: &[&str]| {
        let assert = predict(args).assert().failure().code(code);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).to_string();
        for word in words {
            assert!(
                text.contains(word),
                "`predict {args}` should say {word:?}: {text}"
            );
        }
    };
    says("", 2, &["IMAGE"]);
    says("no.png", 1, &["no.png does not exist", "--test-image 0"]);
    says("src", 1, &["src is a folder", "src/*.png"]);
    for path in ["Cargo.toml", &file("cut.png")] {
        says(path, 1, &[path, "not a PNG or JPEG", "--test-image 0"]);
    }
    says("--test-image 0 --top 0", 1, &["--top 0", "1 to 10"]);
    says("--test-image 0 --top 11", 1, &["--top 11", "1 to 10"]);
    says("--test-image 500", 1, &["--test-image 500", "0 to 499"]);
    says("--test-image 0 --data /nonexistent", 1, &["/nonexistent"]);
}

#[test]
fn json_events_tell_every_step() {
    let folder = TempDir::new().unwrap();
    let output = train(&folder.path().join("run"), &["--json"])
        .output()
        .unwrap();
    let events: Vec<Value> = output
        .stdout
        .split(|&b| b == b'\n')
        .filter(|l| !l.is_empty())
        .map(json)
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["step", "step", "step", "epoch", "end"]);
    assert_eq!(events[2]["step"], 3);
    for key in ["train_loss", "train_acc", "test_acc", "examples_per_second"] {
        assert!(events[3][key].is_number(), "{key}");
    }
}

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
    says("train --data sample --lr -1", 1, &["lr", "-1"]);
    says("train --data sample --batch-size 0", 1, &["batch-size"]);
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

#[test]
fn flags_beat_the_environment_and_the_environment_the_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my.toml");
    fs::write(
        &file,
        "momentum = 0.1\nweight_decay = 0.1\nshuffle = true\n",
    )
    .unwrap();
    let run = folder.path().join("run");
    train(&run, &["--momentum", "0.3", "--config"])
        .arg(&file)
        .env("RESNET_MOMENTUM", "0.2")
        .env("RESNET_WEIGHT_DECAY", "0.2")
        .env("RESNET_NO_SHUFFLE", "1")
        .assert()
        .success();
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let number = |key: &str| config[key].as_float().unwrap() as f32;
    assert_eq!((number("momentum"), number("weight_decay")), (0.3, 0.2));
    assert_eq!(config["shuffle"].as_bool(), Some(false));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_with_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let (unbroken, broken) = (folder.path().join("unbroken"), folder.path().join("broken"));
    // Enough steps that the signal, sent after the first, comes in the middle of them.
    let more = ["--limit-batches", "60", "--momentum", "0.9"];
    let run = |out: &Path| {
        let mut command = resnet();
        command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
        command.args(["--epochs", "1", "--out"]).arg(out).args(more);
        command
    };
    run(&unbroken).assert().success();

    // The standard library cannot send signals, so a shell does.
    let program = assert_cmd::cargo::cargo_bin("resnet");
    let line = run(&broken);
    let args: Vec<String> = line
        .get_args()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let script = format!(
        "{program} {args} --json > {events} & child=$!
        while [ ! -s {events} ]; do sleep 0.02; done
        kill -INT $child; wait $child",
        program = program.display(),
        args = args.join(" "),
        events = folder.path().join("events").display()
    );
    let stopped = Command::new("sh").args(["-c", &script]).assert();
    stopped
        .code(130)
        .stderr(predicate::str::contains("--resume"));
    resnet()
        .arg("train")
        .arg("--resume")
        .arg(&broken)
        .assert()
        .success();

    let weights =
        |run: &Path| fs::read(run.join("checkpoints/step-00000060/weights.safetensors")).unwrap();
    assert!(weights(&unbroken) == weights(&broken));
}

#[test]
fn every_instruction_set_passes_the_golden_cases() {
    let detected = [
        ("scalar", true),
        #[cfg(target_arch = "x86_64")]
        ("avx2", is_x86_feature_detected!("avx2")),
        #[cfg(target_arch = "x86_64")]
        ("avx512", is_x86_feature_detected!("avx512f")),
    ];
    for (isa, detected) in detected {
        if !detected {
            println!("skipped {isa}: this processor lacks it");
            continue;
        }
        resnet()
            .args(["verify", "--device", "cpu"])
            .env("RESNET_CPU_ISA", isa)
            .assert()
            .success()
            .stdout(predicate::str::contains(" 0 failed"));
    }
    resnet()
        .args(["verify", "--device", "cpu"])
        .env("RESNET_CPU_ISA", "avx3")
        .assert()
        .code(1)
        .stderr(predicate::str::contains("RESNET_CPU_ISA=avx3"));
}
