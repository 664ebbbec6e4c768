//! The choice by made-up times, the file, and whole rounds on an adapter.
use super::*;
use crate::backend::gpu::{AdapterReport, Fault, Options, adapters};
use crate::backend::{DeviceError, Failure};
use crate::kernels::{Norm, Window};
use crate::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Mask, Tile};
use crate::plan::Limits;
use crate::tensor::{DType, Shape, TensorDesc};
use std::fs;
use std::path::Path;

const WINDOW: Window = Window {
    kernel: 3,
    stride: 1,
    pad: 1,
};

/// A convolution with its moments, the gradient of its image with everything in it, and of its weight.
fn convolutions(n: usize, stored: DType) -> Vec<Convolution> {
    let image = TensorDesc::f32(Shape([n, 8, 8, 64]));
    let image = TensorDesc {
        dtype: stored,
        ..image
    };
    let weight = Shape([3, 3, 64, 64]);
    let w = TensorDesc::f32(weight);
    let norm = Norm::desc(64);
    let forward = Conv2d {
        window: WINDOW,
        bias: false,
        activate: true,
        moments: true,
        tile: Tile::of(image.shape.rows(), 64),
    };
    let grad_input = Conv2dGradInput {
        add: true,
        mask: Mask::Output,
        ..Conv2dGradInput::new(WINDOW, image.shape)
    };
    let grad_weight = Conv2dGradWeight::new(WINDOW, image.shape, weight);
    let convolution = |op, inputs: &[TensorDesc]| Convolution {
        op,
        inputs: inputs.to_vec(),
    };
    vec![
        convolution(forward.into(), &[image, w, norm]),
        convolution(grad_input.into(), &[image, w, image, image, norm, image]),
        convolution(grad_weight.into(), &[image, image]),
    ]
}

fn trials(n: usize) -> Vec<Trial> {
    let convolutions = convolutions(n, DType::F32);
    let trial = |c: &Convolution| Trial::new(c.key().unwrap(), c, Limits::NONE);
    convolutions.iter().map(trial).collect()
}

fn texts(tilings: &TuningTable) -> Vec<String> {
    tilings.0.values().map(|t| t.to_string()).collect()
}

#[test]
fn the_fastest_is_chosen_and_within_the_noise_the_shapes_own() {
    assert_eq!(fastest(&[3.0, 2.0, 1.0, 2.5]), 2);
    assert_eq!(fastest(&[1.0, 0.98, 1.2]), 0);
    assert_eq!(fastest(&[1.0, 0.96, 0.98]), 1);
    // A clock that stands still or jumps.
    for times in [
        [0.0, 0.0],
        [1.0, 0.0],
        [1.0, -0.5],
        [1.0, f64::NAN],
        [f64::INFINITY, 1.0],
    ] {
        assert_eq!(fastest(&times), 0, "{times:?}");
    }
}

#[test]
fn every_convolution_gets_its_own_choice() {
    let trials = trials(64);
    // The last candidate of the weight's gradient is the fastest, and the second of all others.
    let times = |trial: &Trial| {
        let all = trial.candidates.len();
        let best = if trial.key.contains("grad_weight") {
            all - 1
        } else {
            1
        };
        (0..all)
            .map(|i| if i == best { 5e3 } else { 9e3 })
            .collect()
    };
    let outcome = choose(&trials, &mut Clock::Given(times), BUDGET).unwrap();
    assert_eq!((outcome.reached, outcome.changed), (3, 3));
    let candidates: usize = trials.iter().map(|trial| trial.candidates.len()).sum();
    assert_eq!(outcome.candidates, candidates);
    assert_eq!(texts(&outcome.tilings), ["128x64", "128x64", "128x64 by 2"]);
}

#[test]
fn what_the_budget_does_not_reach_gets_the_shapes_own_for_good() {
    let trials = trials(64);
    // Each takes 7 runs of at least 3 candidates of 0.1 s: the first exceeds the second.
    let times = |trial: &Trial| {
        (0..trial.candidates.len())
            .map(|i| 1e8 - 1e7 * i as f64)
            .collect()
    };
    let outcome = choose(&trials, &mut Clock::Given(times), BUDGET).unwrap();
    assert_eq!((outcome.reached, outcome.changed), (1, 1));
    assert_eq!(outcome.tilings.0.len(), 3);
    for trial in &trials[1..] {
        assert_eq!(outcome.tilings.0[&trial.key], trial.candidates[0]);
    }
}

#[test]
fn a_trial_takes_turns_and_its_median() {
    for trial in trials(2) {
        let plan = trial.plan.as_ref().unwrap();
        let all = trial.candidates.len();
        let fills = plan
            .dispatches
            .iter()
            .filter(|d| d.inputs.is_empty())
            .count();
        // Every candidate comes with what reduces its partial results.
        assert_eq!(plan.dispatches.len(), fills + 2 * all);
        let rounds = trial.rounds(4);
        assert_eq!(rounds.dispatches.len(), fills + 4 * 2 * all);
        // Candidate c takes 10·(c + 1) and 1 more for each round, but much longer in the first.
        let of = |i: usize| {
            let (round, c) = (i / (2 * all), i / 2 % all);
            5.0 * (c as f64 + 1.0) + 0.5 * round as f64 + if round == 0 { 1e6 } else { 0.0 }
        };
        let seconds: Vec<f64> = vec![1e9; fills]
            .into_iter()
            .chain((0..4 * 2 * all).map(of))
            .collect();
        let want: Vec<f64> = (1..=all).map(|c| 10.0 * c as f64 + 2.0).collect();
        assert_eq!(trial.medians(&seconds, 1), want);
    }
}

#[test]
fn no_dispatch_of_a_trial_reads_what_it_writes() {
    // Images of 16 MiB are cut, and partial gradients of up to 9 MB are not.
    let limits = Limits {
        max_binding: 9 << 20,
        offset_alignment: 256,
        cooperative: None,
    };
    for convolution in convolutions(1024, DType::F32) {
        let trial = Trial::new("cut".to_string(), &convolution, limits);
        let plan = trial.rounds(1);
        let convolved = plan
            .dispatches
            .iter()
            .filter(|d| d.op.def().name().starts_with("conv2d"));
        assert!(convolved.count() >= 2 * trial.candidates.len());
        for d in &plan.dispatches {
            let writes = |place| d.outputs.iter().any(|o| o.place == place);
            assert!(d.inputs.iter().all(|i| !writes(i.place)));
            for b in d.inputs.iter().chain(&d.outputs) {
                let crate::plan::Place::Slot(slot) = b.place else {
                    panic!("a trial has slots only");
                };
                assert!(b.offset + b.desc.bytes() <= plan.slots[slot]);
                assert!(b.desc.bytes() <= limits.max_binding);
            }
        }
    }
}

#[test]
fn what_cannot_run_alone_keeps_the_shapes_own() {
    // No weight fits.
    let limits = Limits {
        max_binding: 64 << 10,
        offset_alignment: 256,
        cooperative: None,
    };
    for convolution in convolutions(2, DType::F32) {
        let trial = Trial::new("large".to_string(), &convolution, limits);
        assert!(trial.plan.is_none());
        assert_eq!(Some(trial.candidates[0]), convolution.tiling());
        let outcome = choose(&[trial], &mut Clock::Given(|_| vec![2.0, 1.0]), BUDGET).unwrap();
        assert_eq!((outcome.reached, outcome.changed), (0, 0));
    }
}

#[test]
fn a_file_is_read_back_and_a_damaged_or_foreign_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let within = folder.path().join("tiles");
    let identity = Identity {
        adapter: "Example".to_string(),
        backend: "vulkan".to_string(),
        vendor: 0x1002,
        device: 0x744c,
        driver: "Mesa 25".to_string(),
        products: "f32".to_string(),
        program: "0.1.0 01234567".to_string(),
    };
    let kept = TuningFile::within(&within, identity.clone());
    assert!(kept.read().unwrap().is_empty());
    let key = "conv2d.grad_weight 32×2×3×4 3×3×4×8 stride 1 pad 1";
    let tilings = TuningTable([(key.to_string(), "64x64 by 3".parse().unwrap())].into());
    kept.write(&tilings).unwrap();
    assert_eq!(kept.read().unwrap(), tilings);

    let text = fs::read_to_string(&kept.path).unwrap();
    let refused = |text: &str, why: &str| {
        fs::write(&kept.path, text).unwrap();
        let error = format!("{:#}", kept.read().unwrap_err());
        assert!(error.contains(why), "{error}");
    };
    refused(&text[..text.len() / 2], "is damaged");
    refused(&text.replace("64x64", "7x7"), "is damaged");
    refused("", "is damaged");
    refused(
        &text.replace("0.1.0", "0.0.9"),
        "another device, driver or version",
    );

    let driver = Identity {
        driver: "Mesa 26".to_string(),
        ..identity
    };
    assert_ne!(TuningFile::within(&within, driver).path, kept.path);
}

fn adapter() -> Option<AdapterReport> {
    let best = adapters().into_iter().min_by_key(AdapterReport::rank);
    if best.is_none() {
        crate::process::say("SKIPPED: no GPU adapter");
    }
    best
}

/// Tunes with a file, and returns what was found with what was said.
fn tuned(
    gpu: &mut Gpu,
    convolutions: &[Convolution],
    room: u64,
    file: &Path,
) -> (TuningTable, String) {
    let kept = TuningFile::within(file, gpu.identity.clone());
    let mut notes = Vec::new();
    let tilings = tune_with(gpu, convolutions, room, Some(&kept), &mut notes).unwrap();
    (tilings, notes.join("\n"))
}

#[test]
fn an_adapter_is_timed_once_and_its_file_read_from_then_on() {
    let Some(adapter) = adapter() else { return };
    let open = || Gpu::open(&adapter, Options::default()).unwrap();
    let mut gpu = open();
    if !gpu.has_timestamps() {
        return;
    }
    let mut all = convolutions(4, DType::F32);
    if gpu.stores_f16() {
        all.extend(convolutions(4, DType::F16).into_iter().take(1));
    }
    let folder = tempfile::tempdir().unwrap();
    // Not even the smallest has room in a kilobyte.
    let (by_shape, said) = tuned(&mut gpu, &all, 1024, &folder.path().join("no room"));
    assert!(said.contains("tuned 0 of"), "{said}");
    for convolution in &all {
        let key = convolution.key().unwrap();
        assert_eq!(Some(by_shape.0[&key]), convolution.tiling());
    }

    let (found, said) = tuned(&mut gpu, &all, 1 << 30, folder.path());
    assert_eq!(found.0.len(), all.len());
    assert!(
        said.contains(&format!("of {} convolutions in", all.len())),
        "{said}"
    );
    assert!(!said.contains("tuned 0 of"), "{said}");
    assert_eq!(gpu.memory_used().unwrap(), 0);
    for convolution in &all {
        let tiling = found.0[&convolution.key().unwrap()];
        assert!(convolution.candidates().contains(&tiling));
    }

    let (again, said) = tuned(&mut open(), &all, 1 << 30, folder.path());
    assert_eq!(again, found);
    assert!(said.contains("tile sizes from the cache"), "{said}");

    let file = TuningFile::within(folder.path(), gpu.identity.clone()).path;
    fs::write(&file, "{").unwrap();
    let (_, said) = tuned(&mut open(), &all[..1], 1 << 30, folder.path());
    assert!(said.contains("autotuning again"), "{said}");
    assert!(said.contains("of 1 convolutions in"), "{said}");
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("conv2d.forward")
    );
}

#[test]
fn software_adapters_are_not_tuned_and_one_without_timestamps_says_so() {
    let Some(adapter) = adapter().filter(AdapterReport::is_software) else {
        return;
    };
    let all = convolutions(1, DType::F32);
    let mut gpu = Gpu::open(&adapter, Options::default()).unwrap();
    assert!(gpu.tune(&all, 1 << 30).unwrap().is_none());
    let options = Options {
        portable: true,
        tune: Tune::Always,
        ..Options::default()
    };
    let mut gpu = Gpu::open(&adapter, options).unwrap();
    let Tuned { tilings, note } = gpu.tune(&all, 1 << 30).unwrap().unwrap();
    assert!(tilings.is_empty());
    assert!(note.contains("has no working timestamp queries"), "{note}");
}

#[test]
fn a_device_lost_while_it_is_tuned_is_an_error_of_the_device() {
    let Some(adapter) = adapter() else { return };
    let options = Options {
        tune: Tune::Always,
        fault: Some(Fault {
            after: 1,
            failure: Failure::Lost,
        }),
        ..Options::default()
    };
    let mut gpu = Gpu::open(&adapter, options).unwrap();
    if !gpu.has_timestamps() {
        return;
    }
    let error = gpu.tune(&convolutions(1, DType::F32), 1 << 30).unwrap_err();
    let failure = error.downcast_ref::<DeviceError>().map(|e| e.failure);
    assert_eq!(failure, Some(Failure::Lost), "{error:#}");
}
