//! PyTorch's values: every golden case on both backends, and what happens to cases that are wrong.
use crate::altered::Altered;
use crate::device;
use crate::training::devices;
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::Options;
use resnet::tensor::DType;
use resnet::verify::{Case, Report, Set, run};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::fs;
use std::path::Path;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

#[test]
fn golden_cases_pass_on_the_cpu() {
    for fuse in [false, true] {
        all_pass(&mut Cpu::new().unwrap(), fuse, DType::F32);
    }
}

#[test]
fn golden_cases_pass_on_the_gpu() {
    if let Some(adapter) = device::adapter() {
        for fuse in [false, true] {
            let mut gpu = device::open(adapter, Options::default());
            all_pass(&mut gpu, fuse, DType::F32);
        }
    }
}

#[test]
fn golden_cases_pass_with_images_of_f16() {
    for (_, open) in devices(DType::F16) {
        for fuse in [false, true] {
            all_pass(open().as_mut(), fuse, DType::F16);
        }
    }
}

#[test]
fn golden_cases_pass_with_images_of_bf16() {
    for fuse in [false, true] {
        all_pass(&mut Cpu::new().unwrap(), fuse, DType::Bf16);
    }
}

/// The bounds of f16 are those of its rounding, and not wide enough for a coarser one.
#[test]
fn what_is_coarser_than_f16_is_noticed() {
    // It keeps 8 of the 11 digits.
    let mut coarse = Altered {
        kept_bits: 0xf8,
        ..Altered::default()
    };
    let set = Set::built_in().unwrap();
    let cases = run(&set, &mut coarse, true, DType::F16, |_| ()).cases;
    for op in [
        "conv2d",
        "batch_norm",
        "relu",
        "max_pool",
        "global_avg_pool",
    ] {
        let of_op = || cases.iter().filter(|case| case.op == op);
        let (all, passed) = (of_op().count(), of_op().filter(|c| c.passed).count());
        assert!(2 * passed < all, "{passed} of {all} cases of {op} passed");
    }
    let kept = |c: &&Case| ["linear", "cross_entropy", "sgd", "adamw"].contains(&c.op.as_str());
    assert!(cases.iter().filter(kept).all(|case| case.passed));
}

#[test]
fn the_built_in_set_passes() {
    let report = run(
        &Set::built_in().unwrap(),
        &mut Cpu::new().unwrap(),
        true,
        DType::F32,
        |_| (),
    );
    assert_eq!(report.failed, 0);
    for op in ["conv2d", "adamw", "network", "resize"] {
        assert!(report.cases.iter().any(|case| case.op == op), "{op}");
    }
}

/// Every wanted tensor is really compared: with one wrong element in each, all of them are noticed.
#[test]
fn wrong_values_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let judged = replay(Path::new(GOLDEN)).cases;
    for entry in fs::read_dir(GOLDEN).unwrap() {
        let from = entry.unwrap().path();
        let bytes = fs::read(&from).unwrap();
        let to = dir.path().join(from.file_name().unwrap());
        match from.extension().is_some_and(|e| e == "safetensors") {
            true => fs::write(to, spoil(&bytes)).unwrap(),
            false => fs::write(to, bytes).unwrap(),
        }
    }
    let spoiled = replay(dir.path()).cases;
    assert_eq!(spoiled.len(), judged.len());
    for (case, right) in spoiled.iter().zip(&judged) {
        assert!(!case.passed, "{}", case.name);
        assert_eq!(case.checks.len(), right.checks.len(), "{}", case.name);
        for check in &case.checks {
            assert!(!check.passed(), "{}: {}", case.name, check.tensor);
        }
    }
}

#[test]
fn what_cannot_be_replayed_is_a_failed_case_with_a_reason() {
    let manifest = r#"{"format": 1, "networks": [], "resize": {}, "ops": [
        {"file": "ops_misc.safetensors", "op": "relu", "case": "relu", "attrs": {},
         "inputs": ["x", "dy"], "wants": {"y": {}}},
        {"file": "ops_misc.safetensors", "op": "gelu", "case": "relu", "attrs": {},
         "inputs": ["x"], "wants": {"y": {}}},
        {"file": "ops_misc.safetensors", "op": "relu", "case": "relu", "attrs": {"slope": 0.1},
         "inputs": ["x"], "wants": {"y": {}}},
        {"file": "ops_misc.safetensors", "op": "relu", "case": "missing", "attrs": {},
         "inputs": ["x"], "wants": {"y": {}}},
        {"file": "ops_misc.safetensors", "op": "relu", "case": "relu", "attrs": {},
         "inputs": ["x"], "wants": {"dx": {}}},
        {"file": "ops_misc.safetensors", "op": "max_pool", "case": "maxpool_random_one",
         "attrs": {"kernel": 9, "pad": 1}, "inputs": ["x"], "wants": {"y": {}}},
        {"file": "ops_misc.safetensors", "op": "max_pool", "case": "maxpool_random_odd",
         "attrs": {"kernel": 5, "stride": 2, "pad": 1}, "inputs": ["x"], "wants": {"y": {}}}]}"#;
    let dir = folder(manifest, &["ops_misc.safetensors"]);
    let report = replay(dir.path());
    let reasons = report.cases.iter().map(|c| c.reason.as_deref());
    let words = [
        "",
        "the op gelu is not known",
        "the attribute slope = 0.1 is not known",
        "ops_misc.safetensors has no tensor missing/x",
        "dx is wanted, but cannot be computed",
        "a window of 9 does not fit into 1",
        "maxpool_random_odd/y.want does not have the dimensions",
    ];
    assert_eq!((report.passed, report.failed), (1, words.len() - 1));
    for (reason, words) in reasons.zip(words) {
        assert!(reason.unwrap_or_default().contains(words), "{reason:?}");
    }
}

#[test]
fn networks_that_cannot_be_built_are_failed_cases() {
    for (change, words) in [
        (r#""block": "Dense""#, "the block Dense is not known"),
        (r#""stem": 0"#, "stem 0 is not usable"),
        (r#""widths": [4, 8]"#, "4 numbers of blocks, but 2 widths"),
        (
            r#""size": 28"#,
            "images of 1 channels and 28 pixels are needed",
        ),
        (
            r#""stem": 5"#,
            "init/conv1.weight in net_resnet18_tv.safetensors is [4, 1, 7, 7]",
        ),
    ] {
        let entry = r#"{"file": "net_resnet18_tv.safetensors", "block": "Basic", "stem": 4,
            "layers": [2, 2, 2, 2], "widths": [4, 8, 8, 16], "conv_bias": false, "classes": 10,
            "shortcut_bn": true, "batch": 16, "size": 32, "batches": 5, "lr": 0.05,
            "torch": {"logits_max_abs": 1, "grad_worst_rel_l2": 1, "update_rel_l2": {}}}"#;
        let mut entry: serde_json::Value = serde_json::from_str(entry).unwrap();
        let change: serde_json::Value = serde_json::from_str(&format!("{{{change}}}")).unwrap();
        entry
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let manifest = format!(r#"{{"format": 1, "networks": [{entry}]}}"#);
        let dir = folder(&manifest, &["net_resnet18_tv.safetensors"]);
        let report = replay(dir.path());
        let reason = report.cases[0].reason.as_deref().unwrap_or_default();
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn broken_folders_are_errors_that_name_the_file() {
    let one = r#"{"format": 1, "resize": {"file": "resize.safetensors"}}"#;
    let error = |dir: &Path| format!("{:#}", Set::open(dir).err().expect("an error"));
    let empty = tempfile::tempdir().unwrap();
    assert!(error(empty.path()).contains("manifest.json"));
    assert!(error(folder("{", &[]).path()).contains("manifest.json"));
    let other = error(folder(r#"{"format": 2}"#, &[]).path());
    assert!(other.contains("format 2 is not known"), "{other}");
    assert!(error(folder(one, &[]).path()).contains("resize.safetensors"));
    let dir = folder(one, &["resize.safetensors"]);
    assert!(Set::open(dir.path()).is_ok());
    let file = dir.path().join("resize.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(error(dir.path()).contains("resize.safetensors is not a complete safetensors file"));
}

fn all_pass(backend: &mut dyn Backend, fuse: bool, stored: DType) {
    let set = Set::open(Path::new(GOLDEN)).unwrap();
    let Report { failed, cases, .. } = run(&set, backend, fuse, stored, |_| ());
    let reason = |c: &Case| Some(format!("{}: {}", c.name, c.reason.as_ref()?));
    let reasons: Vec<String> = cases.iter().filter_map(reason).collect();
    let device = backend.device();
    assert_eq!(failed, 0, "on {device}, fused: {fuse}: {reasons:#?}");
}

fn replay(dir: &Path) -> Report {
    run(
        &Set::open(dir).unwrap(),
        &mut Cpu::new().unwrap(),
        true,
        DType::F32,
        |_| (),
    )
}

/// A folder with this manifest and some of the golden files.
fn folder(manifest: &str, files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("manifest.json"), manifest).unwrap();
    for file in files {
        fs::copy(Path::new(GOLDEN).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// The same file with the first element of every wanted tensor made wrong.
fn spoil(file: &[u8]) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let spoiled: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let mut data = tensor.data().to_vec();
            if name.ends_with(".want") || name.starts_with("out_") {
                let bytes = match tensor.dtype() {
                    Dtype::F32 => 1e3_f32.to_le_bytes().to_vec(),
                    Dtype::U32 => 1000_u32.to_le_bytes().to_vec(),
                    Dtype::F64 => bytemuck::cast_slice(&vec![1e3_f64; data.len() / 8]).to_vec(),
                    _ => vec![data[0] ^ 0x80],
                };
                data[..bytes.len()].copy_from_slice(&bytes);
            }
            (
                name.to_string(),
                tensor.dtype(),
                tensor.shape().to_vec(),
                data,
            )
        })
        .collect();
    let views = spoiled.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize(views, None).unwrap()
}
