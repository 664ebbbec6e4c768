//! `resnet runs` and `resnet compare`: what they say of runs in every state.
use crate::cli::{json, resnet, told, train};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use tempfile::TempDir;

fn listed(folder: &Path) -> Vec<Value> {
    told("runs", folder, &[])["runs"]
        .as_array()
        .unwrap()
        .clone()
}

fn states(folder: &Path) -> Vec<String> {
    let of = |run: &Value| {
        format!(
            "{} {}",
            run["name"].as_str().unwrap(),
            run["state"].as_str().unwrap()
        )
    };
    listed(folder).iter().map(of).collect()
}

#[test]
fn runs_are_listed_with_their_states() {
    let folder = TempDir::new().unwrap();
    let runs = folder.path();
    resnet()
        .arg("runs")
        .arg(runs.join("nothing"))
        .assert()
        .code(1)
        .stderr(contains("there is no folder"));
    resnet()
        .arg("runs")
        .arg(runs)
        .assert()
        .success()
        .stdout("")
        .stderr(contains("there is no run in"));
    train(&runs.join("a"), &[]).assert().success();
    train(&runs.join("b"), &["--lr", "0.01"]).assert().success();
    fs::create_dir(runs.join("no-run")).unwrap();
    assert_eq!(states(runs), ["a finished", "b finished"]);
    let run = &listed(runs)[0];
    assert_eq!(
        (&run["epochs"], &run["of_epochs"], &run["best_epoch"]),
        (&1.into(), &1.into(), &1.into())
    );
    let eval = told("eval", &runs.join("a"), &[]);
    assert_eq!(run["best_acc"], eval["accuracy"]);
    assert!(run["device"].as_str().unwrap().starts_with("cpu ("));
    resnet()
        .arg("runs")
        .arg(runs)
        .assert()
        .success()
        .stdout(contains("finished").and(contains("1/1")));

    // One that is to go on, held by a process or not, and one that an error ended.
    let config = runs.join("a/config.toml");
    let longer = fs::read_to_string(&config)
        .unwrap()
        .replace("epochs = 1", "epochs = 5");
    fs::write(&config, &longer).unwrap();
    assert_eq!(states(runs)[0], "a interrupted");
    let held = File::options()
        .write(true)
        .open(runs.join("a/.lock"))
        .unwrap();
    held.lock().unwrap();
    assert_eq!(states(runs)[0], "a running");
    drop(held);
    // A folder where a file is to be written.
    fs::remove_file(runs.join("a/metrics.csv")).unwrap();
    fs::create_dir(runs.join("a/metrics.csv")).unwrap();
    resnet()
        .args(["train", "--resume"])
        .arg(runs.join("a"))
        .assert()
        .code(1);
    fs::remove_dir(runs.join("a/metrics.csv")).unwrap();
    assert_eq!(states(runs)[0], "a failed");

    // A damaged one hides no other.
    fs::write(&config, "epochs = \"many\"").unwrap();
    let output = resnet().arg("runs").arg(runs).assert().code(1);
    output
        .stdout(contains("b "))
        .stderr(contains("config.toml"));
}

#[test]
fn runs_are_compared() {
    let folder = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    train(&a, &[]).assert().success();
    train(&b, &["--lr", "0.01", "--val-split", "100"])
        .assert()
        .success();
    let file = folder.path().join("curves.svg");
    let compare = |more: &[&str]| {
        let mut command = resnet();
        command.arg("compare").args([&a, &b]).args(more);
        command
    };
    compare(&["--out", file.to_str().unwrap()])
        .assert()
        .success()
        .stdout(
            contains("lr")
                .and(contains("0.05"))
                .and(contains("0.01"))
                .and(contains("val_split")),
        );
    let svg = fs::read_to_string(&file).unwrap();
    for label in ["a: train loss", "a: test acc", "b: train acc", "b: val acc"] {
        assert!(svg.contains(label), "{label}");
    }
    let report = json(&compare(&["--json"]).output().unwrap().stdout);
    let keys: Vec<&String> = report["differences"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["lr", "val_split"]);
    assert_eq!(
        report["differences"]["val_split"],
        serde_json::json!([null, "100"])
    );
    assert!(report["runs"][0]["test_acc"].is_number() && report["runs"][1]["val_acc"].is_number());
    resnet().arg("compare").arg(&a).assert().code(2);
    resnet()
        .arg("compare")
        .args([&a, folder.path()])
        .assert()
        .code(1)
        .stderr(contains("not a run's folder"));
}
