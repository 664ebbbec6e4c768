//! Tuned runs: any tiling gives the right numbers, and a run that goes on keeps its own, with the same bits.
use crate::cli;
use crate::device;
use crate::small::{BATCH, config, few, session, spec, train_in};
use crate::training::{devices, resnet18, sample};
use predicates::prelude::*;
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::{Options, Tune};
use resnet::config::{TrainConfig, resolve};
use resnet::data::{Dataset, Preprocess};
use resnet::ops::tuning::TuningTable;
use resnet::plan::Limits;
use resnet::tensor::DType;
use resnet::train::{Feed, Optimizer, SessionSpec, StepPlans, checkpoint, folder};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// For every convolution of a training step the candidate of this number, or its last.
fn candidates(spec: &SessionSpec, data: &Dataset, number: usize) -> TuningTable {
    let prepared = StepPlans::new(spec, data, Limits::NONE).unwrap();
    let chosen = prepared.convolutions().into_iter().map(|convolution| {
        let candidates = convolution.candidates();
        let tiling = candidates[number.min(candidates.len() - 1)];
        (convolution.key().unwrap(), tiling)
    });
    TuningTable(chosen.collect())
}

/// The losses of three steps, and all parameters after them.
fn three_steps(spec: &SessionSpec, backend: Box<dyn Backend>) -> (Vec<f32>, Vec<f32>) {
    let mut session = session(spec, &few(), backend);
    for first in 0..3 {
        let indices: Vec<u32> = (first..first + BATCH as u32).collect();
        session.train(&indices).unwrap();
    }
    let losses = session.results().unwrap().iter().map(|r| r.loss).collect();
    let params = session.params().to_vec();
    let all = params.iter().flat_map(|p| session.read(p.tensor).unwrap());
    (losses, all.collect())
}

#[test]
#[ignore = "a minute on a software adapter: scripts/test.sh --all"]
fn every_candidate_gives_the_same_numbers_within_rounding() {
    for (name, open) in devices(DType::F32) {
        // A GPU's kernels without anything fused are those of the cases.
        for fuse in [true, false]
            .into_iter()
            .filter(|fuse| *fuse || name == "cpu")
        {
            let by_shape = spec(None, fuse);
            let (losses, params) = three_steps(&by_shape, open());
            for number in 1..4 {
                let tuned = SessionSpec {
                    tilings: candidates(&by_shape, &few(), number),
                    ..by_shape.clone()
                };
                let (tuned_losses, tuned_params) = three_steps(&tuned, open());
                // Fused, there are other sums, but of the same terms.
                assert!(
                    params != tuned_params || !fuse,
                    "{name}, {number}: the same bits"
                );
                let largest = params.iter().fold(0.0_f32, |m, p| m.max(p.abs()));
                let pairs = losses.iter().zip(&tuned_losses);
                for (a, b) in pairs {
                    assert!((a - b).abs() <= 1e-3 * a.abs(), "{name}, {number}: {a} {b}");
                }
                for (a, b) in params.iter().zip(&tuned_params) {
                    let error = (a - b).abs();
                    assert!(error <= 1e-3 * largest, "{name}, {number}: {a} {b}");
                }
            }
        }
    }
}

/// The settings of a run.
pub fn settings(run: &Path) -> TrainConfig {
    resolve(&[folder::settings(run).unwrap()]).unwrap().config
}

/// Trains until `epochs` in `into` as `resnet train` does: a new run with these tilings or tuned by its
/// device, an old one as its file says.
fn run(
    into: &Path,
    tilings: &TuningTable,
    backend: Box<dyn Backend>,
    epochs: usize,
) -> TuningTable {
    let mut config = match into.join("config.toml").exists() {
        true => settings(into),
        false => {
            let mut config = config(None, epochs);
            config.hardware.deterministic = false;
            config.limit.limit_batches = Some(2);
            config.tilings = tilings.clone();
            config
        }
    };
    config.run.epochs = epochs;
    train_in(into, config, backend).unwrap();
    settings(into).tilings
}

fn weights(folder: &TempDir) -> Vec<u8> {
    let newest = checkpoint::latest(folder.path()).unwrap();
    fs::read(newest.join("weights.safetensors")).unwrap()
}

#[test]
#[ignore = "a minute on a software adapter: scripts/test.sh --all"]
fn a_resumed_run_keeps_its_tilings_and_so_its_bits() {
    for (name, open) in devices(DType::F32) {
        let by_shape = spec(None, true);
        let tilings = candidates(&by_shape, &few(), 1);
        let [unbroken, broken, other] = [(); 3].map(|()| TempDir::new().unwrap());
        run(unbroken.path(), &tilings, open(), 2);
        run(broken.path(), &tilings, open(), 1);
        run(broken.path(), &TuningTable::default(), open(), 2);
        assert!(weights(&unbroken) == weights(&broken), "{name}");
        // By the shapes alone the bits would have been others.
        run(other.path(), &TuningTable::default(), open(), 2);
        assert!(weights(&unbroken) != weights(&other), "{name}");
    }
}

#[test]
fn a_run_that_was_tuned_goes_on_with_the_same_bits_where_nothing_is_known_of_it() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    let open = |tune| -> Box<dyn Backend> {
        let options = Options {
            tune,
            ..Options::default()
        };
        Box::new(device::open(adapter, options))
    };
    let nothing = TuningTable::default();
    let [unbroken, broken] = [(); 2].map(|()| TempDir::new().unwrap());
    let found = run(unbroken.path(), &nothing, open(Tune::Always), 2);
    assert_eq!(found.0.len(), prepared_convolutions());
    run(broken.path(), &found, open(Tune::Auto), 1);
    run(broken.path(), &nothing, open(Tune::Auto), 2);
    assert!(weights(&unbroken) == weights(&broken));
}

fn prepared_convolutions() -> usize {
    let prepared = StepPlans::new(&spec(None, true), &few(), Limits::NONE).unwrap();
    prepared.convolutions().len()
}

#[test]
fn the_chapters_step_has_few_convolutions_to_time() {
    let data = sample();
    let spec = SessionSpec {
        arch: resnet18(1),
        batch_size: 256,
        micro_batch: None,
        preprocess: Preprocess::of_size(96),
        feed: Feed::Resident,
        augmentation: None,
        views: false,
        limit_batches: Some(1),
        optimizer: Some(Optimizer::sgd(0.0, false, 0.0)),
        fuse: true,
        stored: DType::F32,
        tilings: TuningTable::default(),
    };
    let mut prepared = StepPlans::new(&spec, &data, Limits::NONE).unwrap();
    let convolutions = prepared.convolutions();
    let candidates = convolutions.iter().map(|c| c.candidates().len());
    let candidates: usize = candidates.sum();
    println!(
        "{} convolutions, {candidates} candidates",
        convolutions.len()
    );
    let flops = |c: &resnet::ops::tuning::Convolution| {
        let outputs = c.op.def().infer(&c.inputs).unwrap();
        c.op.def().flops(&c.inputs, &outputs)
    };
    // Those that cost most come first: none of a stage's 3×3 convolutions is behind the classifier's.
    let first = flops(&convolutions[0]);
    assert!(first > 100 * flops(convolutions.last().unwrap()));
    assert!(convolutions.len() <= 50, "{}", convolutions.len());
    // The CPU has nothing to tune.
    let mut cpu = Cpu::new().unwrap();
    assert!(prepared.tune(&data, &mut cpu).unwrap().is_none());
}

#[test]
fn the_program_records_tilings_and_takes_those_of_a_file() {
    let folder = TempDir::new().unwrap();
    let [by_shape, tuned, pinned] = ["a", "b", "c"].map(|run| folder.path().join(run));
    cli::train(&by_shape, &["--deterministic"])
        .assert()
        .success();
    let config = settings(&by_shape);
    assert!(config.hardware.deterministic && config.tilings.is_empty());

    let spec = SessionSpec {
        arch: resnet18(1),
        batch_size: 16,
        preprocess: Preprocess::of_size(28),
        ..spec(None, true)
    };
    let from = TrainConfig {
        tilings: candidates(&spec, &sample(), 1),
        ..TrainConfig::default()
    };
    let file = folder.path().join("tuned.toml");
    fs::write(&file, toml::to_string(&from).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    cli::train(&tuned, &["--config", file]).assert().success();
    assert_eq!(settings(&tuned).tilings, from.tilings);
    let weights = |run: &Path| fs::read(checkpoint::weights_of(run).unwrap()).unwrap();
    assert!(weights(&tuned) != weights(&by_shape));
    cli::train(&pinned, &["--config", file, "--deterministic"])
        .assert()
        .success();
    assert!(weights(&pinned) == weights(&by_shape));

    let mut resume = cli::resnet();
    resume
        .args(["train", "--epochs", "2", "--resume"])
        .arg(&tuned);
    resume.assert().success();
    assert_eq!(settings(&tuned).tilings, from.tilings);
    resume
        .arg("--deterministic")
        .assert()
        .failure()
        .stderr(predicate::str::contains("a resumed run keeps its settings"));
    let mut eval = cli::resnet();
    eval.arg("eval").arg(&tuned).args(["--device", "cpu"]);
    eval.assert().success();
}
