//! What the GPU backend promises beside right results: times per dispatch, and a cache of compiled
//! pipelines that a damaged file cannot spoil.
use crate::case::plain;
use crate::cases;
use crate::device;
use crate::training::devices;
use assert_cmd::Command;
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::Options;
use resnet::ops::resize_taps;
use resnet::tensor::{DType, Shape, TensorDesc};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_profile_times_every_dispatch() {
    let case = &cases::all()[0];
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(Cpu::new().unwrap())];
    if let Some(adapter) = device::adapter() {
        backends.push(Box::new(device::open(adapter, Options::default())));
    }
    for mut backend in backends {
        let plan = device::whole(case, &case.results(), backend.as_ref()).unwrap();
        let dispatches = plan.dispatches.len();
        let id = backend.compile(plan).unwrap();
        let seconds = backend.profile(id).unwrap();
        assert_eq!(seconds.len(), dispatches);
        let all: f64 = seconds.iter().sum();
        assert!(all > 0.0 && all < 60.0, "{}: {all} s", backend.device());
    }
}

#[test]
fn a_tensor_is_written_in_parts() {
    let case = plain("bytes", |c| {
        let images = c.g.state("images", TensorDesc::u8(Shape([5, 3, 3, 1])));
        let indices = c.below("indices", [2, 1, 1, 1], DType::U32, 5);
        let (table, t) = resize_taps(3, 3);
        let taps = c.g.input("taps", TensorDesc::u32(Shape([3, 1, 1, t])));
        c.data = vec![(taps, bytemuck::cast_slice(&table).to_vec())];
        c.g.gather_images(images, indices, taps, None, 3, DType::F32)?;
        Ok(())
    });
    let images = case.g.find("images").unwrap();
    for (name, open) in devices(DType::F32) {
        let mut backend = open();
        let plan = device::whole(&case, &case.results(), backend.as_ref()).unwrap();
        backend.compile(plan).unwrap();
        let bytes: Vec<u8> = (1..=45).collect();
        backend.write(images, &[99; 45]).unwrap();
        backend.write_part(images, 0, &bytes[..20]).unwrap();
        let half = [&bytes[..20], &[99; 25]].concat();
        assert_eq!(backend.read(images).unwrap(), half, "{name}");
        backend.write_part(images, 20, &bytes[20..]).unwrap();
        assert_eq!(backend.read(images).unwrap(), bytes, "{name}");
        let error = backend.write_part(images, 24, &bytes[20..]).unwrap_err();
        assert!(error.to_string().contains("25 bytes from 24 on"), "{error}");
    }
}

#[test]
fn an_adapter_without_timestamps_says_so() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    let case = &cases::all()[0];
    let options = Options {
        portable: true,
        ..Options::default()
    };
    let mut gpu = device::open(adapter, options);
    let plan = device::whole(case, &case.results(), &gpu).unwrap();
    let id = gpu.compile(plan).unwrap();
    let error = gpu.profile(id).unwrap_err().to_string();
    assert!(error.contains("has no timestamps"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn compiled_kernels_are_kept_and_a_damaged_file_is_replaced() {
    if device::adapter().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cases = one_case(folder.path());
    let verify = || {
        let mut command = Command::cargo_bin("resnet").unwrap();
        command.env("XDG_CACHE_HOME", folder.path());
        command.args(["verify", "--device", "gpu", "--cases"]);
        let output = command.arg(&cases).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!verify().contains("compiling the kernels again"));
    let kept = fs::read_dir(folder.path().join("resnet/pipelines")).unwrap();
    let kept: Vec<PathBuf> = kept.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    let whole = fs::read(&kept[0]).unwrap();

    fs::write(&kept[0], &whole[..whole.len() - 1]).unwrap();
    let said = verify();
    assert!(said.contains("compiling the kernels again"), "{said}");
    assert!(said.contains("is damaged and will be replaced"), "{said}");
    assert!(!verify().contains("compiling the kernels again"));
}

/// A folder with the first case of the optimisers.
#[cfg(target_os = "linux")]
fn one_case(folder: &Path) -> PathBuf {
    let mut manifest: Value =
        serde_json::from_slice(&fs::read("tests/golden/manifest.json").unwrap()).unwrap();
    let file = "ops_optim.safetensors";
    let mut ops = manifest["ops"].as_array().unwrap().clone();
    ops.retain(|op| op["file"] == file);
    ops.truncate(1);
    manifest["ops"] = ops.into();
    manifest["networks"] = Value::Array(Vec::new());
    manifest["resize"] = Value::Null;
    let cases = folder.join("cases");
    fs::create_dir(&cases).unwrap();
    fs::write(cases.join("manifest.json"), manifest.to_string()).unwrap();
    fs::copy(Path::new("tests/golden").join(file), cases.join(file)).unwrap();
    cases
}
