//! The program as a person runs it: real files, real exit codes.
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

/// A network whose steps take little time, for what is the same with every network.
pub const SMALL: [&str; 4] = ["--widths", "16,32", "--blocks", "1,1"];

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

pub fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// What a command that succeeds prints with `--json` for a path.
pub fn told(command: &str, path: &Path, more: &[&str]) -> Value {
    let mut line = resnet();
    line.arg(command).arg(path).args(more).arg("--json");
    json(&line.assert().success().get_output().stdout)
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
    assert_eq!(kinds, ["started", "step", "step", "step", "epoch", "end"]);
    assert!(events[0]["run"].as_str().unwrap().ends_with("run"));
    let settings = &events[0]["settings"];
    assert_eq!(
        (&settings["epochs"], &settings["batch_size"]),
        (&1.into(), &16.into())
    );
    assert_eq!(events[3]["step"], 3);
    for key in ["train_loss", "train_acc", "test_acc", "examples_per_second"] {
        assert!(events[4][key].is_number(), "{key}");
    }
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
        command.args(SMALL).args(more);
        command.args(["--epochs", "1", "--out"]).arg(out);
        command
    };
    run(&unbroken).assert().success();

    let events = folder.path().join("events");
    let line = run(&broken);
    let mut command = std::process::Command::new(line.get_program());
    command.args(line.get_args()).arg("--json");
    command.stdout(fs::File::create(&events).unwrap());
    let mut child = command.spawn().unwrap();
    while !fs::read_to_string(&events).unwrap().contains("\"step\":1,") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // The standard library cannot send signals, so a program does.
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).assert();
    sent.success();
    assert_eq!(child.wait().unwrap().code(), Some(143));
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
