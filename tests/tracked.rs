//! `num_batches_tracked` counts what BatchNorm has seen, as PyTorch's loop does: every micro-batch of a step.
use crate::cli::resnet;
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn checkpoint(run: &Path, step: usize) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}"))
}

fn tracked(run: &Path, step: usize) -> i64 {
    let bytes = fs::read(checkpoint(run, step).join("weights.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("bn1.num_batches_tracked").unwrap();
    i64::from_le_bytes(tensor.data().try_into().unwrap())
}

/// The state as a program that did not count wrote it: blanks keep the file's lengths.
fn forget_passes(run: &Path, step: usize) {
    let path = checkpoint(run, step).join("state.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let begin = b"\\\"passes\\\":";
    let at = bytes.windows(begin.len()).position(|w| w == begin).unwrap();
    let end = at + bytes[at..].iter().position(|b| *b == b',').unwrap();
    bytes[at..=end].fill(b' ');
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_micro_batch_is_a_tracked_batch() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = "train --device cpu --data sample --image-size 28 --batch-size 16 --limit-batches 2 --epochs 1";
    let mut train = resnet();
    train
        .args(settings.split(' '))
        .args(["--micro-batch", "6", "--lr", "0.001"]);
    train.arg("--out").arg(&run).assert().success();
    // 16 examples are 6, 6 and 4.
    assert_eq!(tracked(&run, 2), 6);
    for (step, forgotten) in [(4, false), (6, true)] {
        if forgotten {
            forget_passes(&run, step - 2);
        }
        let epochs = (step / 2).to_string();
        let mut resume = resnet();
        resume.args(["train", "--epochs", &epochs, "--resume"]);
        resume.arg(&run).assert().success();
        assert_eq!(tracked(&run, step), 3 * step as i64);
    }
}
