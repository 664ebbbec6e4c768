//! `resnet probe`: what it says of each block, against a network in plain loops.
use crate::altered::Altered;
use crate::cli::{json, resnet};
use crate::grow::{small, train};
use crate::plain::{CLASSES, IMAGES, Plain, SIDE};
use crate::training::{devices, sample};
use predicates::str::contains;
use resnet::config::{FeedName, MicroBatch, TrainConfig};
use resnet::data::{Dataset, Examples, Info, Preprocess};
use resnet::model::zoo::{Choice, Name, Variant};
use resnet::model::{self, Param, Role};
use resnet::tensor::DType;
use resnet::train::{BlockProbe, SessionSpec, WeightsInfo, probe};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn probed(weights: &Path, more: &[&str]) -> Value {
    let mut command = small(&["probe", "--json"]);
    let output = command.arg(weights).args(more).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    json(&output.stdout)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn inserted_blocks_add_exactly_nothing() {
    for (more, zeroed_by, projecting, inserted) in [
        (
            &[][..],
            "relu_after_sum",
            &["layer2.0"][..],
            ["layer1.1", "layer1.2"],
        ),
        (
            &["--preact"],
            "first_relu",
            &["layer2.0"],
            ["layer1.1", "layer1.2"],
        ),
        (
            &["--arch", "resnet50"],
            "relu_after_sum",
            &["layer1.0", "layer2.0"],
            ["layer1.1", "layer1.2"],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let (run, grown) = (
            folder.path().join("run"),
            folder.path().join("grown.safetensors"),
        );
        let network = ["--widths", "4,8", "--blocks", "1,2"];
        train(&run, &[&network[..], more].concat());
        let mut grow = resnet();
        grow.arg("grow")
            .arg(&run)
            .args(["--blocks", "3,2", "--out"]);
        grow.arg(&grown).assert().success();

        let report = probed(&grown, &[]);
        assert_eq!(report["zeroed_by"], zeroed_by);
        assert_eq!(report["examples"], 32);
        let blocks = report["blocks"].as_array().unwrap();
        let names: Vec<&str> = blocks
            .iter()
            .map(|b| b["block"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["layer1.0", "layer1.1", "layer1.2", "layer2.0", "layer2.1"]
        );
        for (name, block) in names.iter().zip(blocks) {
            assert_eq!(block["projects"], projecting.contains(name), "{name}");
            let is_new = inserted.contains(name);
            assert_eq!(number(&block["ratio"]) == 0.0, is_new, "{more:?} {name}");
            assert_eq!(number(&block["branch_norm"]) == 0.0, is_new, "{name}");
            assert!((0.01..0.99).contains(&number(&block["zeroed"])), "{block}");
            assert!(number(&block["gradient_norm"]) > 0.0, "{block}");
        }
        // The identity passes on what comes in.
        let of = |name: &str, key: &str| {
            number(&blocks[names.iter().position(|n| *n == name).unwrap()][key])
        };
        assert_eq!(
            of("layer1.1", "shortcut_norm"),
            of("layer1.2", "shortcut_norm")
        );

        let mut eval = small(&["eval", "--json"]);
        let evaluated = json(&eval.arg(&grown).output().unwrap().stdout);
        let (loss, of_eval) = (number(&report["loss"]), number(&evaluated["loss"]));
        assert!((loss - of_eval).abs() < 1e-5 * of_eval, "{loss} {of_eval}");

        let mut command = small(&["probe", "--limit-batches", "1"]);
        command
            .arg(&grown)
            .assert()
            .success()
            .stdout(contains("██"))
            .stdout(contains("(16 images)"))
            .stdout(contains("The identity: layer1.1, layer1.2\n"))
            .stdout(contains("Nearest to the identity: layer"))
            .stdout(contains("layer2.0 *"));
    }
}

#[test]
fn a_probe_computes_in_f32_only() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let network = ["--widths", "4,8", "--blocks", "1,1"];
    train(&run, &[&network[..], &["--precision", "bf16"]].concat());
    // The run's own precision is no reason to refuse it.
    probed(&run, &["--limit-batches", "1"]);
    let mut command = small(&["probe", "--precision", "bf16"]);
    let refused = command.arg(&run).assert().failure().code(2);
    refused.stderr(contains("--precision: a probe computes in f32"));
}

#[test]
fn the_numbers_are_those_of_a_network_in_plain_loops() {
    let mut cases = vec![];
    for (at, (name, open)) in devices(DType::F32).into_iter().enumerate() {
        cases.push((name, open, false, Variant::D2l));
        if at == 0 {
            cases.push((name, open, false, Variant::Torchvision));
            cases.push((name, open, true, Variant::D2l));
        }
    }
    for (device, open, preact, variant) in cases {
        let choice = Choice {
            name: Name::Resnet20,
            variant: Some(variant),
            preact,
            widths: Some(vec![3, 4]),
            blocks: Some(vec![2, 1]),
            ..Choice::default()
        };
        let arch = choice.arch(1, CLASSES).unwrap();
        let (_, network) = model::describe(&arch, 1, SIDE).unwrap();
        let values: Vec<Vec<f32>> = network.params.iter().zip(1..).map(random).collect();
        let data = images();
        let names = data.info.classes.clone();
        let info = WeightsInfo::new(arch, Preprocess::of_size(SIDE), names);
        let mut config = TrainConfig::default();
        config.batch.batch_size = IMAGES;
        let spec = SessionSpec::evaluating(&config, &info);
        // Passes of two images, and one of the last.
        let micro = Some(MicroBatch::Examples(2));
        let source = Arc::new(data.clone());
        let got = probe(
            spec,
            FeedName::Auto,
            micro,
            &values,
            source,
            open().as_mut(),
        )
        .unwrap();

        let names = network.params.iter().map(|p| p.name.clone());
        let doubles = |values: &Vec<f32>| values.iter().map(|v| f64::from(*v)).collect();
        let plain = Plain {
            params: names.zip(values.iter().map(doubles)).collect(),
            preact,
        };
        let want = plain.probe(&data.test);
        let near = |got: f64, want: f64, what: &str| {
            assert!(
                (got - want).abs() <= 1e-4 * want.abs(),
                "{device}, {preact}, {variant:?}, {what}: {got}, not {want}"
            );
        };
        assert_eq!(got.examples, IMAGES as u64);
        near(got.loss, want.loss, "loss");
        assert_eq!(got.blocks.len(), want.blocks.len());
        for (got, want) in got.blocks.iter().zip(&want.blocks) {
            near(got.branch_norm, want.branch.sqrt(), "branch");
            near(got.shortcut_norm, want.shortcut.sqrt(), "shortcut");
            near(got.ratio, (want.branch / want.shortcut).sqrt(), "ratio");
            near(got.zeroed, want.zeros / want.outputs, "zeros");
            near(got.gradient_norm, want.gradient.sqrt(), "gradient");
        }
    }
}

#[test]
fn a_device_that_is_too_small_takes_fewer_images_at_once() {
    let mut data = sample();
    data.test.labels.truncate(20);
    let choice = Choice {
        name: Name::Resnet20,
        widths: Some(vec![3, 4]),
        blocks: Some(vec![2, 1]),
        ..Choice::default()
    };
    let arch = choice.arch(1, 10).unwrap();
    let (_, network) = model::describe(&arch, 1, SIDE).unwrap();
    let values: Vec<Vec<f32>> = network.params.iter().zip(1..).map(random).collect();
    let preprocess = Preprocess::of_size(SIDE);
    let info = WeightsInfo::new(arch, preprocess, data.info.classes.clone());
    let spec = SessionSpec::evaluating(&TrainConfig::default(), &info);
    // Room for 10 of the images, so that they are not all on the device either.
    let on = |max_buffer, micro| {
        let mut device = Altered {
            name: Some("small"),
            max_buffer: Some(max_buffer),
            ..Altered::default()
        };
        let source = Arc::new(data.clone());
        probe(
            spec.clone(),
            FeedName::Auto,
            micro,
            &values,
            source,
            &mut device,
        )
    };
    let small = 10 * 784;
    for (micro, taken) in [(None, 20), (Some(MicroBatch::Examples(11)), 11)] {
        let refused = on(small, micro).unwrap_err().to_string();
        let at_once = format!("a probe of {taken} images at once needs a buffer of ");
        assert!(refused.starts_with(&at_once), "{refused}");
        assert!(refused.ends_with("--micro-batch 10 would fit"), "{refused}");
    }
    let whole = on(u64::MAX, None).unwrap();
    let parts = on(small, Some(MicroBatch::Auto)).unwrap();
    assert_eq!(whole.blocks.len(), 3);
    for (whole, part) in whole.blocks.iter().zip(&parts.blocks) {
        let numbers = |block: &BlockProbe| [block.ratio, block.zeroed, block.gradient_norm];
        for (whole, part) in numbers(whole).iter().zip(numbers(part)) {
            assert!((whole - part).abs() <= 1e-5 * whole, "{whole} {part}");
        }
    }
}

/// Numbers from 0 to 1 that look random.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(next).collect()
}

/// Values with which every part of the network matters.
fn random((param, seed): (&Param, u32)) -> Vec<f32> {
    let offset = match param.role {
        Role::Gamma | Role::RunningVar => 0.5,
        _ => -0.5,
    };
    let noise = noise(param.shape.len(), seed).into_iter();
    noise.map(|value| value + offset).collect()
}

fn images() -> Dataset {
    let pixels = noise(IMAGES * SIDE * SIDE, 99).into_iter();
    Dataset {
        info: Info {
            name: "noise".to_string(),
            size: SIDE,
            channels: 1,
            classes: ["a", "b", "c"].map(str::to_string).to_vec(),
            ..Info::default()
        },
        train: Examples::default(),
        test: Examples {
            pixels: pixels.map(|level| (255.0 * level) as u8).collect(),
            labels: (0..IMAGES).map(|i| (i % CLASSES) as u32).collect(),
        },
    }
}
