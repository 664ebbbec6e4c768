//! Networks that grow: the deeper one computes what the trained one does, and trains on from there.
use crate::cli::resnet;
use assert_cmd::Command;
use predicates::str::contains;
use resnet::train::checkpoint;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `resnet` on a few images of the sample.
pub fn small(args: &[&str]) -> Command {
    let mut command = resnet();
    command.args(args);
    for (name, value) in [
        ("DATA", "sample"),
        ("DEVICE", "cpu"),
        ("BATCH_SIZE", "16"),
        ("LIMIT_BATCHES", "2"),
        ("IMAGE_SIZE", "16"),
        ("EPOCHS", "1"),
    ] {
        command.env(format!("RESNET_{name}"), value);
    }
    command
}

pub fn train(out: &Path, more: &[&str]) -> PathBuf {
    let mut command = small(&["train", "--out"]);
    command.arg(out).args(more).assert().success();
    checkpoint::weights_in(&checkpoint::latest(out).unwrap())
}

fn evaluated(weights: &Path, precision: &str) -> Value {
    let weights = weights.to_str().unwrap();
    let mut command = small(&["eval", weights, "--json", "--precision", precision]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["checkpoint", "network"] {
        report[key] = Value::Null;
    }
    report
}

fn tensor(file: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

#[test]
fn a_grown_network_is_the_same_function_and_leaves_it_when_trained() {
    for (arch, more, precision, grown_to, last) in [
        ("resnet18", &[][..], "f32", "3,2", "bn2.weight"),
        ("resnet18", &["--preact"], "f32", "3,2", "conv2.weight"),
        ("resnet50", &["--stem", "cifar"], "f32", "1,3", "bn3.weight"),
        (
            "resnet50",
            &["--preact", "--precision", "bf16"],
            "bf16",
            "2,2",
            "conv3.weight",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let network = ["--arch", arch, "--widths", "4,8", "--blocks", "1,2"];
        let before = train(&at("run"), &[&network[..], more].concat());
        let (run, grown) = (at("run"), at("grown.safetensors"));
        let mut grow = resnet();
        grow.arg("grow")
            .arg(&run)
            .args(["--blocks", grown_to, "--out"])
            .arg(&grown);
        grow.assert()
            .success()
            .stdout(contains("the identity until it is trained"));
        let evaluated = |weights| evaluated(weights, precision);
        // To the last bit.
        assert_eq!(evaluated(&before), evaluated(&grown), "{arch} {more:?}");

        let on = ["--init", grown.to_str().unwrap()];
        let after = train(&at("on"), &on);
        let new = match grown_to.starts_with('1') {
            true => "layer2.2",
            false => "layer1.1",
        };
        let name = format!("{new}.{last}");
        assert!(tensor(&grown, &name).iter().all(|value| *value == 0.0));
        assert!(
            tensor(&after, &name).iter().any(|value| *value != 0.0),
            "{arch} {more:?}"
        );
        assert_ne!(evaluated(&after)["loss"], evaluated(&grown)["loss"]);
    }
}

/// The command that `grow` prints trains on images of the same size.
#[test]
fn weights_bring_the_size_of_their_images() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    train(&at("run"), &["--widths", "4,8", "--blocks", "1,2"]);
    let sizes = [(None, "image_size = 16"), (Some("20"), "image_size = 20")];
    for (i, (size, wanted)) in sizes.into_iter().enumerate() {
        let on = at(&i.to_string());
        let mut command = small(&["train", "--init", at("run").to_str().unwrap(), "--out"]);
        command.arg(&on).env_remove("RESNET_IMAGE_SIZE");
        if let Some(size) = size {
            command.args(["--image-size", size]);
        }
        command.assert().success();
        let settings = fs::read_to_string(on.join("config.toml")).unwrap();
        assert!(settings.contains(wanted), "{settings}");
    }
}

#[test]
fn what_cannot_grow_is_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &["--widths", "4,8", "--blocks", "1,2"]);
    let out = folder.path().join("grown.safetensors");
    let grow = |more: &[&str]| {
        let mut command = resnet();
        command
            .arg("grow")
            .arg(&run)
            .arg("--out")
            .arg(&out)
            .args(more);
        command.assert().failure()
    };
    for (more, why) in [
        (&["--blocks", "1,2"][..], "has these blocks already"),
        (&["--blocks", "2,1"], "layer2 has 2 blocks and would have 1"),
        (&["--blocks", "2,2,2"], "2 number(s), not 3"),
        (&["--arch", "resnet50"], "is made of bottlenecks"),
        (&["--arch", "resnet34"], "give --blocks instead"),
        (&["--arch", "resnet35"], "resnet34"),
        (
            &["--arch", "resnet34", "--blocks", "2,2"],
            "cannot be used with",
        ),
        (&[], "required"),
    ] {
        grow(more).stderr(contains(why));
    }
    assert!(!out.exists());
    fs::write(&out, "mine").unwrap();
    grow(&["--blocks", "2,2"]).stderr(contains("exists already"));
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}
