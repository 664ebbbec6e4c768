//! Sets that have names, and what is particular to them; and a last batch of one example.
use crate::cli::json;
use crate::folder::{classes, in_folder, train};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A file of CIFAR-10 with so many records. The images of a class have its own brightness.
fn records(path: &Path, count: usize) {
    let mut bytes = Vec::new();
    for i in 0..count {
        let label = (i * 7 % 10) as u8;
        bytes.push(label);
        bytes.extend((0..3072_usize).map(|at| label * 20 + (i * 31 + at * 17) as u8 % 20));
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn cifar_is_known_by_its_files_and_normalised_as_usual() {
    let folder = TempDir::new().unwrap();
    // As `resnet fetch cifar10` leaves it.
    let set = folder.path().join(".cache/resnet/cifar10");
    fs::create_dir_all(&set).unwrap();
    let mut missing = in_folder(folder.path());
    missing.args(["train", "--data", "cifar10"]);
    missing
        .assert()
        .code(1)
        .stderr(contains("CIFAR-10 is neither in").and(contains("fetch cifar10")));
    for i in 1..=5 {
        records(&set.join(format!("data_batch_{i}.bin")), 8);
    }
    records(&set.join("test_batch.bin"), 10);
    let mut data = in_folder(folder.path());
    data.args(["data", "cifar10"]);
    let said = contains("the binary version of CIFAR-10")
        .and(contains("images    32×32, colour"))
        .and(contains("automobile"));
    data.assert().success().stdout(said);
    let run = |data: &str, name: &str, more: &[&str]| {
        let mut command = in_folder(folder.path());
        command
            .args("train --image-size 32 --stem cifar --widths 4 --blocks 1 --epochs 1".split(' '));
        command
            .args([
                "--batch-size",
                "8",
                "--device",
                "cpu",
                "--name",
                name,
                "--data",
                data,
            ])
            .args(more);
        command.assert().success()
    };
    run("cifar10", "named", &[]).stderr(contains("normalised as is usual for CIFAR-10"));
    run(
        set.to_str().unwrap(),
        "folder",
        &["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"],
    );
    let config = |name: &str| {
        fs::read_to_string(folder.path().join("runs").join(name).join("config.toml")).unwrap()
    };
    let table: toml::Table = config("named").parse().unwrap();
    assert_eq!(table["data"].as_str(), Some("cifar10"));
    assert_eq!(
        table["mean"].as_array().unwrap()[0]
            .as_float()
            .map(|mean| mean as f32),
        Some(0.4914)
    );
    let table: toml::Table = config("folder").parse().unwrap();
    assert_eq!(table["mean"].as_array().unwrap()[0].as_float(), Some(0.5));
    let mut eval = in_folder(folder.path());
    let output = eval
        .args("eval runs/named --device cpu --json".split(' '))
        .output()
        .unwrap();
    assert_eq!(json(&output.stdout)["examples"], 10);
    let mut resume = in_folder(folder.path());
    resume
        .args("train --resume runs/named --epochs 2".split(' '))
        .assert()
        .success();
}

#[test]
fn idx_files_of_more_than_ten_classes_are_trained_on_and_evaluated() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    fs::create_dir(&p).unwrap();
    for (part, count) in [("train", 60_u32), ("t10k", 30)] {
        let file = |name: &str, dims: &[u32], bytes: &[u8]| {
            let mut file = vec![0, 0, 8, dims.len() as u8];
            dims.iter().for_each(|d| file.extend(d.to_be_bytes()));
            file.extend(bytes);
            fs::write(p.join(format!("{part}-{name}-ubyte")), file).unwrap();
        };
        let labels: Vec<u8> = (0..count).map(|i| (i % 15) as u8).collect();
        let pixel = |at: u32| labels[(at / 64) as usize] * 16 + (at % 7) as u8;
        let pixels: Vec<u8> = (0..count * 64).map(pixel).collect();
        file("images-idx3", &[count, 8, 8], &pixels);
        file("labels-idx1", &[count], &labels);
    }
    let said = contains("called 0 to 14");
    train(folder.path(), &[]).assert().success().stderr(said);
    let mut eval = in_folder(folder.path());
    let eval = eval.args("eval run --device cpu --json".split(' '));
    let report = json(&eval.output().unwrap().stdout);
    assert_eq!(report["examples"], 30);
    assert_eq!(report["classes"].as_array().unwrap().len(), 15);
    assert_eq!(report["classes"][14]["class"], "14");
}

/// Images of 8×8 that a network halves to a single pixel.
#[test]
fn a_last_batch_of_one_example_joins_the_one_before() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p.join("train"), &["a", "b", "c"], 3, 0);
    classes(&p.join("test"), &["a", "b", "c"], 3, 100);
    let run = |more: &[&str]| {
        let mut command = in_folder(folder.path());
        command.args(
            "train --data p --image-size 8 --stem cifar --widths 4,4,4,4 --blocks 1,1,1,1"
                .split(' '),
        );
        command
            .args("--epochs 2 --batch-size 8 --device cpu --json".split(' '))
            .args(more);
        let output = command.assert().success().get_output().stdout.clone();
        let lines = String::from_utf8(output).unwrap();
        let steps = lines
            .lines()
            .filter(|line| json(line.as_bytes())["event"] == "step")
            .count();
        (steps, lines)
    };
    // Nine images: a step of all nine in each epoch, and the nine test images in two batches.
    assert_eq!(run(&["--out", "joined"]).0, 2);
    assert_eq!(run(&["--out", "parts", "--micro-batch", "4"]).0, 2);
    let mut resume = in_folder(folder.path());
    resume
        .args("train --resume joined --epochs 3".split(' '))
        .assert()
        .success();
    // Where the last stage has more than a pixel, a single example is a batch as before.
    let wide = train(folder.path(), &["--json"]).assert().success();
    let lines = String::from_utf8(wide.get_output().stdout.clone()).unwrap();
    assert_eq!(lines.matches("\"event\":\"step\"").count(), 2, "{lines}");
}

#[test]
fn a_feed_is_chosen_or_refused() {
    let folder = TempDir::new().unwrap();
    let run = |feed: &str| {
        let mut command = in_folder(folder.path());
        command.args(
            "train --data sample --image-size 28 --stem cifar --widths 4 --blocks 1".split(' '),
        );
        command.args("--epochs 1 --limit-batches 2 --batch-size 16 --device cpu --feed".split(' '));
        command.args([feed, "--name", feed]).assert().success();
        let metrics =
            fs::read_to_string(folder.path().join("runs").join(feed).join("metrics.csv")).unwrap();
        let row = metrics
            .lines()
            .nth(1)
            .unwrap()
            .split(',')
            .take(6)
            .map(str::to_string);
        row.collect::<Vec<String>>()
    };
    let resident = run("resident");
    assert_eq!(run("streamed"), resident);
    assert_eq!(run("auto"), resident);
}
