//! Schedules of learning rates across interruptions.
use crate::cli::{SMALL, json, resnet};
use resnet::train::checkpoint;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Number, rate and loss of every step in the run's events.
fn steps(run: &Path) -> Vec<[Value; 3]> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| json(line.as_bytes()));
    let steps = events.filter(|event| event["event"] == "step");
    steps
        .map(|event| ["step", "lr", "loss"].map(|key| event[key].clone()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, place) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        match (path.is_symlink(), path.is_dir()) {
            (true, _) => {}
            (false, true) => copy(&path, &place),
            (false, false) => drop(fs::copy(&path, &place).unwrap()),
        }
    }
}

fn checkpoints(run: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (checkpoint::step_of(&path).unwrap(), path))
        .collect()
}

/// A run that goes on from the middle of a warm-up, of a rise or of a fall has the rates, losses and weights of one that was
/// never stopped.
#[test]
fn rates_go_on_where_a_run_was_stopped() {
    let schedules = [
        ("--schedule cosine --warmup 4 --lr-final 0.001", [2, 7]),
        ("--schedule one-cycle", [1, 6]),
        ("--schedule linear --warmup 3", [2, 5]),
        ("--schedule multistep --lr-epochs 1 --warmup 2", [1, 4]),
    ];
    for (schedule, stops) in schedules {
        let folder = TempDir::new().unwrap();
        let whole = folder.path().join("whole");
        let mut command = resnet();
        let flags = "train --data sample --device cpu --image-size 28 --batch-size 16 --limit-batches 4 --epochs 2 --keep 100 \
                     --save-every 1 --momentum 0.9 --shift 2 --out";
        command
            .args(flags.split(' '))
            .arg(&whole)
            .args(SMALL)
            .args(schedule.split(' '));
        command.assert().success();
        let want = steps(&whole);
        assert_eq!(want.len(), 8);
        let weights = |run: &Path| fs::read(checkpoint::weights_of(run).unwrap()).unwrap();
        for stop in stops {
            let stopped = folder.path().join(format!("stopped-{stop}"));
            copy(&whole, &stopped);
            for (step, path) in checkpoints(&stopped) {
                if step > stop {
                    fs::remove_dir_all(path).unwrap();
                }
            }
            let mut command = resnet();
            command
                .args(["train", "--device", "cpu", "--resume"])
                .arg(&stopped);
            command.assert().success();
            assert_eq!(steps(&stopped), want, "{schedule}, from step {stop}");
            assert!(
                weights(&stopped) == weights(&whole),
                "{schedule}, from step {stop}"
            );
        }
    }
}
