//! `resnet bench` as a person runs it: the profile, the trace, the prediction and the written shaders.
use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use std::fs;

fn bench(args: &str) -> Command {
    let mut command = Command::cargo_bin("resnet").unwrap();
    command.args(["bench", "--batch-size", "2", "--image-size", "28"]);
    command.args(args.split_whitespace());
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_profile_and_the_trace_hold_every_dispatch() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("step.json");
    let mut command = bench("--device cpu --steps 1 --profile --peak 1 --bandwidth 100 --trace");
    let report = json(command.arg(&file));
    let dispatches = report["plan"]["dispatches"].as_u64().unwrap();

    let rows = report["profile"].as_array().unwrap();
    let total = |key: &str| {
        rows.iter()
            .map(|row| row[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(total("calls"), dispatches);
    assert_eq!(total("flops"), report["plan"]["flops"]);
    assert_eq!(total("bytes"), report["plan"]["bytes"]);
    for row in rows {
        let [flops, bytes] = ["flops", "bytes"].map(|key| row[key].as_f64().unwrap());
        let bound = row["bound_seconds"].as_f64().unwrap();
        // The calls of a kernel need not all have the same bound.
        let (least, most) = (
            (flops / 1e12).max(bytes / 1e11),
            flops / 1e12 + bytes / 1e11,
        );
        assert!(bound >= 0.999 * least && bound <= 1.001 * most, "{row}");
    }

    let trace: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len() as u64, dispatches);
    let number = |event: &Value, key: &str| event[key].as_f64().unwrap();
    for pair in events.windows(2) {
        let end = number(&pair[0], "ts") + number(&pair[0], "dur");
        assert!((end - number(&pair[1], "ts")).abs() < 1e-3, "{pair:?}");
    }
}

#[test]
fn a_step_in_micro_batches_is_measured_whole() {
    let mut command = Command::cargo_bin("resnet").unwrap();
    let args = "bench --device cpu --deterministic --image-size 28 --batch-size 5 --micro-batch 2 --steps 1 --profile";
    let report = json(command.args(args.split(' ')));
    assert!(report["tuning"].is_null());
    let dispatches = report["plan"]["dispatches"].as_u64().unwrap();
    let calls = |op: &str| -> u64 {
        let rows = report["profile"].as_array().unwrap().iter();
        let rows = rows.filter(|row| op.is_empty() || row["op"] == op);
        rows.map(|row| row["calls"].as_u64().unwrap()).sum()
    };
    assert_eq!(calls(""), dispatches);
    // Passes of two and of three, which add to the sums of gradients; one update, after which these are zero again.
    assert_eq!(calls("gather_images"), 2);
    assert_eq!(calls("sgd"), 1);
    assert_eq!(calls("fill"), 1);
}

#[test]
fn inference_alone_is_measured_at_any_batch() {
    let mut command = Command::cargo_bin("resnet").unwrap();
    let args = "bench --inference --device cpu --image-size 28 --batch-size 1 --steps 1 --profile";
    let report = json(command.args(args.split(' ')));
    assert!(report["train"].is_null());
    assert!(report["infer"]["examples_per_second"].as_f64().unwrap() > 0.0);
    let rows = report["profile"].as_array().unwrap();
    let backward = |row: &&Value| row["op"].as_str().unwrap().contains("grad");
    assert_eq!(rows.iter().filter(backward).count(), 0);
    let calls: u64 = rows.iter().map(|row| row["calls"].as_u64().unwrap()).sum();
    assert_eq!(report["plan"]["dispatches"], calls);
}

#[test]
fn a_prediction_needs_peaks_and_no_device() {
    let [slow, fast] = ["1", "10"].map(|peak| {
        let predicted = json(&mut bench(&format!(
            "--predict --peak {peak} --bandwidth 1e9"
        )));
        predicted["train"].as_f64().unwrap()
    });
    assert!(fast > slow, "{fast} {slow}");
    bench("--predict --card")
        .arg("rtx 4090")
        .assert()
        .success()
        .stdout(predicate::str::contains("on RTX 4090"));
    let fails = |args: &str, why: &str| {
        bench(args)
            .assert()
            .failure()
            .stderr(predicate::str::contains(why));
    };
    fails("--predict", "--peak TFLOPS --bandwidth GBS");
    fails("--predict --card Voodoo", "RX 7900 XTX");
    fails(
        "--predict --peak 0 --bandwidth 1",
        "must be a positive number",
    );
}

#[test]
fn every_module_is_written_as_wgsl() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("wgsl");
    bench("--dump-wgsl").arg(&into).assert().success();
    let mut files = 0;
    for entry in fs::read_dir(&into).unwrap() {
        let path = entry.unwrap().path();
        let source = fs::read_to_string(&path).unwrap();
        naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{}: {}", path.display(), e.emit_to_string(&source)));
        files += 1;
    }
    assert!(files > 10, "{files} files");
    for tile in ["128x128", "128x64", "64x64", "32x64"] {
        let name = format!("conv2d.forward.moments.vec4.{tile}.wgsl");
        assert!(into.join(&name).exists(), "{name}");
    }
}

#[test]
fn a_data_set_is_measured_resident_or_streamed() {
    for (feed, waits) in [("streamed", true), ("resident", false)] {
        let mut line = bench("--device cpu --steps 2");
        line.args("--data sample --widths 8 --blocks 1 --feed".split(' '));
        let report = json(line.arg(feed));
        let rate = &report["train"]["examples_per_second"];
        assert!(rate.as_f64().unwrap() > 0.0, "{report}");
        let waited = report["waited"].as_f64();
        assert_eq!(waited.is_some(), waits, "{report}");
        assert!(waited.is_none_or(|share| (0.0..1.0).contains(&share)));
    }
    // What a variable names is for trainings.
    let mut line = bench("--device cpu --steps 1");
    line.args(["--widths", "8", "--blocks", "1"]);
    json(line.env("RESNET_DATA", "/nonexistent"));
    for (args, words) in [
        ("--feed streamed", "--data"),
        ("--data sample --dump-graph", "cannot be used with"),
    ] {
        let refused = bench(args).assert().failure().code(2);
        refused.stderr(predicate::str::contains(words));
    }
    let mut line = Command::cargo_bin("resnet").unwrap();
    line.args("bench --device cpu --data sample --batch-size 1001".split(' '));
    let words = "2000 images to train on, but --batch-size 1001 needs 2002";
    let refused = line.assert().failure().code(2);
    refused.stderr(predicate::str::contains(words));
}
