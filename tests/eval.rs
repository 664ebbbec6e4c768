//! What `resnet eval` tells besides loss and accuracy, worked out again from the answers that it saves.
use crate::cli::{json, resnet, train};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A row of the saved answers.
struct Row {
    label: usize,
    predicted: usize,
    probabilities: Vec<f64>,
}

fn rows(csv: &[u8], classes: &[String]) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(csv);
    let header: Vec<String> = reader.headers().unwrap().iter().map(String::from).collect();
    assert_eq!(header[..3], ["image", "label", "predicted"]);
    assert_eq!(header[3..], *classes);
    let class = |name: &str| classes.iter().position(|class| class == name).unwrap();
    let row = |(i, row): (usize, Result<csv::StringRecord, csv::Error>)| {
        let row = row.unwrap();
        assert_eq!(row[0], i.to_string());
        Row {
            label: class(&row[1]),
            predicted: class(&row[2]),
            probabilities: row.iter().skip(3).map(|p| p.parse().unwrap()).collect(),
        }
    };
    reader.records().enumerate().map(row).collect()
}

#[test]
fn calibration_top_k_precision_and_recall_follow_from_the_saved_answers() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let file = folder.path().join("answers.csv");
    let mut command = resnet();
    command
        .arg("eval")
        .arg(&run)
        .args("--device cpu --json --top-k 3 --save-predictions".split(' '));
    let output = command
        .arg(&file)
        .args(["--limit-batches", "20"])
        .assert()
        .success();
    let report = json(&output.get_output().stdout);
    let data = resnet::data::sample().unwrap();
    let rows = rows(&fs::read(&file).unwrap(), &data.info.classes);
    assert_eq!(rows.len(), 320);
    for (row, label) in rows.iter().zip(&data.test.labels) {
        assert_eq!(row.label, *label as usize);
        assert!((row.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let close = |value: &Value, want: f64| {
        assert!(
            (value.as_f64().unwrap() - want).abs() < 1e-12,
            "{value} {want}"
        );
    };
    let share = |count: usize, all: usize| count as f64 / all as f64;
    let right = rows.iter().filter(|row| row.label == row.predicted);
    close(&report["accuracy"], share(right.count(), 320));

    let among = rows.iter().filter(|row| {
        let own = row.probabilities[row.label];
        row.probabilities.iter().filter(|p| **p > own).count() < 3
    });
    assert_eq!(report["top_k"]["k"], 3);
    close(&report["top_k"]["accuracy"], share(among.count(), 320));

    // Bin by bin, as the paper has it.
    let mut error = 0.0;
    for bin in 1..=15 {
        let (low, high) = (f64::from(bin - 1) / 15.0, f64::from(bin) / 15.0);
        let of_bin = rows.iter().filter(|row| {
            let confidence = row.probabilities[row.predicted];
            confidence > low && confidence <= high
        });
        let of_bin: Vec<&Row> = of_bin.collect();
        if of_bin.is_empty() {
            continue;
        }
        let right = of_bin
            .iter()
            .filter(|row| row.label == row.predicted)
            .count();
        let sure: f64 = of_bin
            .iter()
            .map(|row| row.probabilities[row.predicted])
            .sum();
        let n = of_bin.len() as f64;
        error += n / 320.0 * (right as f64 / n - sure / n).abs();
    }
    close(&report["ece"], error);

    for (class, told) in report["classes"].as_array().unwrap().iter().enumerate() {
        assert_eq!(told["class"], *data.info.classes[class]);
        let of = |keep: fn(&Row) -> usize| rows.iter().filter(move |row| keep(row) == class);
        let right = of(|row| row.label)
            .filter(|row| row.predicted == class)
            .count();
        let (images, answers) = (of(|row| row.label).count(), of(|row| row.predicted).count());
        assert_eq!(told["images"], images);
        for (key, all) in [("precision", answers), ("recall", images)] {
            match all {
                0 => assert!(told[key].is_null()),
                _ => close(&told[key], share(right, all)),
            }
        }
        assert_eq!(
            report["per_class"][&data.info.classes[class]],
            told["recall"]
        );
    }

    let mut command = resnet();
    let text = command
        .arg("eval")
        .arg(&run)
        .args(["--device", "cpu", "--top-k", "10"]);
    let says = contains("top-10 acc 1.0000").and(contains("calibration error 0."));
    text.assert()
        .success()
        .stdout(says.and(contains("precision  recall  predicted as")));
    let mut command = resnet();
    command.arg("eval").arg(&run).args(["--top-k", "11"]);
    command
        .assert()
        .code(1)
        .stderr(contains("--top-k 11: must be from 1 to 10"));
}

fn eval(path: &Path, flags: &[&str]) -> Value {
    let mut command = resnet();
    command.arg("eval").arg(path);
    command.args(["--device", "cpu", "--json", "--limit-batches", "4"]);
    json(&command.args(flags).assert().success().get_output().stdout)
}

/// With a decay of 0 the average is the newest weights and statistics, but for the last digits; with another one it is not.
#[test]
fn the_moving_average_is_evaluated_in_the_place_of_the_weights() {
    let folder = TempDir::new().unwrap();
    for (decay, same) in [("0", true), ("0.9", false)] {
        let run = folder.path().join(decay);
        train(&run, &["--ema", decay, "--mean", "0.3", "--std", "0.3"])
            .assert()
            .success();
        let [plain, average] = [&[][..], &["--ema"]].map(|flags| eval(&run, flags));
        let [a, b] = [&plain, &average].map(|report| report["loss"].as_f64().unwrap());
        assert_eq!((a / b - 1.0).abs() < 1e-5, same, "{decay}: {a} and {b}");
        assert_eq!([&plain["ema"], &average["ema"]], [false, true]);
    }
    let none = folder.path().join("none");
    train(&none, &[]).assert().success();
    for args in [&["eval"][..], &["predict", "--test-image", "0"]] {
        let mut command = resnet();
        command.args(args).arg(&none).arg("--ema");
        let says = contains("has no moving average of its weights");
        let says = says.and(contains("train --ema 0.999"));
        command.assert().code(2).stderr(says);
    }
}

/// The answer of two views is the mean of the probabilities for the images and for their mirror images, which are a data set
/// of their own here.
#[test]
fn answers_for_views_are_means_of_probabilities() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let data = resnet::data::sample().unwrap();
    let mirrored = folder.path().join("mirrored");
    fs::create_dir(&mirrored).unwrap();
    for (name, split) in [("train", &data.train), ("t10k", &data.test)] {
        let count = split.labels.len() as u32;
        let mut images = [0x803, count, 28, 28].map(u32::to_be_bytes).concat();
        images.extend(split.pixels.chunks(28).flat_map(|row| row.iter().rev()));
        let mut labels = [0x801, count].map(u32::to_be_bytes).concat();
        labels.extend(split.labels.iter().map(|label| *label as u8));
        fs::write(mirrored.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        fs::write(mirrored.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
    let answers = |name: &str, flags: &[&str]| {
        let file = folder.path().join(name);
        let path = file.display().to_string();
        let report = eval(&run, &[&["--save-predictions", &path][..], flags].concat());
        (report, rows(&fs::read(&file).unwrap(), &data.info.classes))
    };
    let mirrored = mirrored.display().to_string();
    let (plain, sides) = (
        answers("plain.csv", &[]),
        answers("mirrored.csv", &["--data", &mirrored]),
    );
    let (report, both) = answers("both.csv", &["--tta", "flip"]);
    assert_eq!([&plain.0["views"], &report["views"]], [1, 2]);
    let mut loss = 0.0;
    for ((both, plain), side) in both.iter().zip(plain.1).zip(sides.1) {
        let pairs = plain.probabilities.iter().zip(&side.probabilities);
        for (got, (a, b)) in both.probabilities.iter().zip(pairs) {
            assert!((got - 0.5 * (a + b)).abs() < 1e-6);
        }
        loss -= both.probabilities[both.label].ln() / 64.0;
    }
    assert!((report["loss"].as_f64().unwrap() - loss).abs() < 1e-9);
    assert_eq!(eval(&run, &["--tta", "shift,flip"])["views"], 10);
}
