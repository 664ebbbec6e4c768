//! Weights that do not tell their network: the commands know it by the names and shapes of the tensors.
use crate::cli::{resnet, train};
use half::{bf16, f16};
use resnet::train::checkpoint;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// Values of a tensor in another type.
type Cast = fn(f32) -> Vec<u8>;

/// A trained run, and the bytes of its weights.
fn trained() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let weights = checkpoint::weights_in(&checkpoint::latest(&run).unwrap());
    let bytes = fs::read(weights).unwrap();
    (folder, run, bytes)
}

/// Writes the tensors as other programs do: without a word about the network, and in another type.
fn plain(bytes: &[u8], to: &Path, dtype: Dtype, cast: Cast, keep: impl Fn(&str) -> bool) {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let cast = |view: &TensorView| -> (Dtype, Vec<u8>) {
        if view.dtype() != Dtype::F32 {
            return (view.dtype(), view.data().to_vec());
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        (dtype, values.into_iter().flat_map(cast).collect())
    };
    let tensors = file.iter().filter(|(name, _)| keep(name));
    let tensors: Vec<_> = tensors
        .map(|(name, view)| (name, view.shape().to_vec(), cast(&view)))
        .collect();
    let views = tensors.iter().map(|(name, shape, (dtype, bytes))| {
        (
            *name,
            TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
        )
    });
    fs::write(to, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn f32s(value: f32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn output(args: &str, weights: &Path) -> Output {
    let mut command = resnet();
    let mut args = args.split_whitespace();
    command.args(args.next()).arg(weights).args(args);
    command.args("--device cpu --data sample --batch-size 16".split(' '));
    command.output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn weights_without_metadata_are_evaluated_and_predict() {
    let (folder, run, bytes) = trained();
    let file = folder.path().join("plain.safetensors");
    let loss = |output: &Output| -> f64 {
        assert!(output.status.success(), "{}", said(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["loss"].as_f64().unwrap()
    };
    let eval = "eval --json --limit-batches 2";
    let want = loss(&output(eval, &run));
    let types: [(Dtype, Cast, f64); 4] = [
        (Dtype::F32, f32s, 0.0),
        (Dtype::F64, |v| f64::from(v).to_le_bytes().to_vec(), 0.0),
        (
            Dtype::F16,
            |v| f16::from_f32(v).to_le_bytes().to_vec(),
            0.05,
        ),
        (
            Dtype::BF16,
            |v| bf16::from_f32(v).to_le_bytes().to_vec(),
            0.2,
        ),
    ];
    for (dtype, cast, tolerance) in types {
        plain(&bytes, &file, dtype, cast, |_| true);
        let output = output(&format!("{eval} --image-size 28"), &file);
        let off = (loss(&output) - want).abs();
        assert!(off <= tolerance * want, "{dtype:?}: {off} of {want}");
        let note = said(&output.stderr);
        for word in ["recognised", "basic blocks 2,2,2,2", "28×28 (--image-size)"] {
            assert!(note.contains(word), "{note:?} should say {word:?}");
        }
    }
    // BatchNorm's counters are of no use to an evaluation.
    plain(&bytes, &file, Dtype::F32, f32s, |name| {
        !name.ends_with("tracked")
    });
    assert_eq!(
        loss(&output(&format!("{eval} --image-size 28"), &file)),
        want
    );

    let predict = "predict --test-image 0,3 --json";
    let images = |output: &Output| -> serde_json::Value {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["images"].clone()
    };
    let answers = images(&output(&format!("{predict} --image-size 28"), &file));
    assert_eq!(answers, images(&output(predict, &run)));

    let again = folder.path().join("again");
    train(&again, &["--init", file.to_str().unwrap()])
        .assert()
        .success();
}

#[test]
fn weights_that_are_of_no_network_or_contradict_a_flag_are_refused() {
    let (folder, run, bytes) = trained();
    let file = folder.path().join("other.safetensors");
    let refused = |args: &str, path: &Path, code: i32, words: &[&str]| {
        let output = output(args, path);
        assert_eq!(output.status.code(), Some(code));
        let text = said(&output.stderr);
        for word in words {
            assert!(text.contains(word), "{text:?} should say {word:?}");
        }
    };
    for lacks in [
        "conv1.weight",
        "layer2.1.bn2.running_var",
        "layer4.0.downsample.0.bias",
    ] {
        plain(&bytes, &file, Dtype::F32, f32s, |name| name != lacks);
        refused(
            "eval",
            &file,
            1,
            &["other.safetensors", &format!("there is no {lacks}")],
        );
    }
    plain(
        &bytes,
        &file,
        Dtype::I32,
        |v| (v as i32).to_le_bytes().to_vec(),
        |_| true,
    );
    refused(
        "eval",
        &file,
        1,
        &["other.safetensors", "I32", "F16, BF16 or F64"],
    );
    refused(
        "eval --image-size 32",
        &run,
        2,
        &["--image-size 32", "28×28", "leave it out"],
    );
}
