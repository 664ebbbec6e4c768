//! What ends a run before its last epoch, what stays of it, and the range test of learning rates.
use crate::cli::{SMALL, json, resnet, train};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn events(output: &[u8]) -> Vec<Value> {
    let lines = output.split(|&byte| byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(json).collect()
}

/// The rows of `metrics.csv`, by its columns.
fn metrics(run: &Path) -> Vec<BTreeMap<String, String>> {
    let mut file = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    file.deserialize().map(Result::unwrap).collect()
}

/// The names of a run's checkpoints in order.
fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.retain(|name| name.starts_with("step-"));
    names.sort();
    names
}

#[test]
fn a_run_stops_when_its_time_is_over_and_goes_on_from_there() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let mut command = resnet();
    command
        .args("train --data sample --device cpu --image-size 28 --batch-size 16 --json".split(' '));
    let started = command
        .args(["--epochs", "1000", "--max-time", "2s", "--out"])
        .arg(&run)
        .assert()
        .code(0);
    let output = started.get_output().clone();
    started.stderr(contains("--max-time is over: stopped at step").and(contains("--resume")));
    let last = events(&output.stdout).pop().unwrap();
    assert_eq!(
        (&last["event"], &last["cause"]),
        (&"interrupted".into(), &"max_time".into())
    );
    let step = last["step"].as_u64().unwrap();
    assert!(checkpoints(&run).contains(&format!("step-{step:08}")));

    // The limit is the run's, and each start counts anew.
    let mut command = resnet();
    let resumed = command.args(["train", "--json", "--resume"]).arg(&run);
    let resumed = events(&resumed.assert().code(0).get_output().stdout);
    assert_eq!(resumed[0]["step"], step);
    assert_eq!(resumed[1]["step"], step + 1);
    assert_eq!(resumed.last().unwrap()["cause"], "max_time");
}

#[test]
fn the_newest_checkpoints_stay_besides_the_best() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let more = ["--epochs", "3", "--save-every", "1", "--keep", "2"];
    let mut command = resnet();
    command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
    command
        .args(["--limit-batches", "3", "--out"])
        .arg(&run)
        .args(SMALL)
        .args(more);
    command.assert().success();
    let rows = metrics(&run);
    let acc = |row: &BTreeMap<String, String>| row["test_acc"].parse::<f64>().unwrap();
    let most = rows.iter().map(acc).fold(0.0, f64::max);
    let best = rows.iter().find(|row| acc(row) == most).unwrap();
    let step = |row: &BTreeMap<String, String>| row["step"].parse::<u64>().unwrap();
    let mut kept = vec![8, 9, step(best)];
    kept.sort();
    kept.dedup();
    let kept: Vec<String> = kept.iter().map(|step| format!("step-{step:08}")).collect();
    assert_eq!(checkpoints(&run), kept);
    // A resumed run may keep fewer.
    let mut command = resnet();
    let resumed = command.args(["train", "--resume"]).arg(&run);
    resumed
        .args(["--keep", "1", "--epochs", "4"])
        .assert()
        .success();
    assert!(!checkpoints(&run).contains(&"step-00000011".to_string()));
}

/// The epoch after which patience is lost, by the accuracies of all epochs so far.
fn stalls_at(accuracies: &[f64], patience: usize) -> Option<usize> {
    let stalled = |epoch: &usize| {
        let so_far = &accuracies[..*epoch];
        let most = so_far.iter().copied().fold(0.0, f64::max);
        let best = so_far.iter().position(|acc| *acc == most).unwrap() + 1;
        epoch - best >= patience
    };
    (1..=accuracies.len()).find(stalled)
}

#[test]
fn patience_ends_a_run_and_the_end_says_on_which_images() {
    for (more, column, words) in [
        (
            &[][..],
            "test_acc",
            &["no better test accuracy", "--val-split N"][..],
        ),
        (
            &["--val-split", "100"][..],
            "val_acc",
            &["no better validation accuracy"][..],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let run = folder.path().join("run");
        let mut command = resnet();
        command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
        command.args([
            "--limit-batches",
            "3",
            "--epochs",
            "40",
            "--patience",
            "1",
            "--out",
        ]);
        let ended = command.arg(&run).args(SMALL).args(more).assert().success();
        let said = String::from_utf8_lossy(&ended.get_output().stderr).to_string();
        let rows = metrics(&run);
        let accuracies: Vec<f64> = rows
            .iter()
            .map(|row| row[column].parse().unwrap())
            .collect();
        assert!(accuracies.len() < 40);
        assert_eq!(
            stalls_at(&accuracies, 1),
            Some(accuracies.len()),
            "{accuracies:?}"
        );
        let epochs = format!("ends after {} of 40 epochs", accuracies.len());
        for word in words.iter().chain([&epochs.as_str()]) {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(said.contains("--val-split N") == more.is_empty(), "{said}");

        let again = resnet()
            .args(["train", "--resume"])
            .arg(&run)
            .assert()
            .success();
        again.stderr(contains("is finished").and(contains("--patience 2\n")));
        let mut command = resnet();
        let on = command.args(["train", "--resume"]).arg(&run);
        on.args(["--patience", "2"]).assert().success();
        assert!(metrics(&run).len() > accuracies.len());
    }
}

#[test]
fn a_few_batches_are_learnt_by_heart() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let mut command = resnet();
    command.args("train --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
    let trained = command
        .args(SMALL)
        .args(["--overfit", "2", "--epochs", "90", "--out"])
        .arg(&run)
        .assert()
        .success();
    trained.stderr(contains(
        "--overfit 2: trains on 32 images, which are the validation images too",
    ));
    let rows = metrics(&run);
    let last = rows.last().unwrap();
    assert_eq!(last["step"], "180");
    for (column, below) in [("train_loss", 0.1), ("val_loss", 0.1)] {
        let loss: f64 = last[column].parse().unwrap();
        assert!(loss < below, "{column} {loss}");
    }
    assert_eq!(last["val_acc"].parse::<f64>().unwrap(), 1.0);
}

#[test]
fn the_range_test_suggests_a_rate_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let find = |more: &[&str]| {
        let mut command = resnet();
        command.current_dir(folder.path());
        command
            .args("lr-find --data sample --device cpu --image-size 28 --batch-size 16".split(' '));
        command
            .args(["--from", "1e-4", "--steps", "40"])
            .args(SMALL);
        command.args(more);
        command
    };
    let told = find(&["--json"]).assert().success();
    let report = json(&told.get_output().stdout);
    let steps = report["steps"].as_array().unwrap();
    let lr = |at: usize| steps[at]["lr"].as_f64().unwrap();
    assert!(steps.len() > 10 && steps.len() <= 40);
    let factor = 1e5f64.powf(1.0 / 39.0);
    assert!((lr(7) / (1e-4 * factor.powi(7)) - 1.0).abs() < 1e-5);
    let suggestion = report["suggestion"].as_f64().unwrap();
    assert!((0..steps.len()).any(|at| lr(at) == suggestion));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    // The same again, for people.
    let text = find(&["--out", "lr.svg"]).assert().success();
    let line = format!("suggested lr {suggestion:.1e};");
    text.stdout(contains(line.as_str()).and(contains("◄")))
        .stderr(
            contains(format!(" --lr {suggestion:.1e}").as_str())
                .and(contains(
                    " train --device cpu --data sample --batch-size 16",
                ))
                .and(contains("--widths 16,32 --blocks 1,1")),
        );
    let svg = fs::read_to_string(folder.path().join("lr.svg")).unwrap();
    assert_eq!(
        svg.matches("r=\"1.5\"").count(),
        steps
            .iter()
            .filter(|step| step["smoothed"].is_number())
            .count()
    );
    assert!(svg.contains(&format!("suggested {suggestion:.1e}")) && svg.ends_with("</svg>\n"));
}

#[test]
fn what_cannot_end_a_run_is_refused() {
    for (line, word) in [
        ("train --max-time 2", "1h30m"),
        ("train --max-time 0s", "at least 1s"),
        ("train --keep 0", "at least 1"),
        ("train --patience 0", "at least 1"),
        ("train --overfit 1 --val-split 5", "--val-split"),
        ("lr-find --from 1 --to 0.1", "--to 0.1"),
        ("lr-find --steps 9", "at least 10"),
        ("lr-find --lr 0.1", "--lr"),
    ] {
        let refused = resnet().args(line.split(' ')).assert().code(2);
        refused.stderr(contains(word));
    }
    let folder = TempDir::new().unwrap();
    let run = train(&folder.path().join("run"), &["--overfit", "1000"]);
    { run }
        .assert()
        .code(2)
        .stderr(contains("has 125 batches of 16"));
}
