//! Whole training steps: determinism, resume, chunks, and the two backends against each other.
use crate::device;
use anyhow::Result;
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::{Gpu, Options};
use resnet::config::{OptimizerName, Precision, ScheduleName, TrainConfig};
use resnet::data::{self, Dataset, Preprocess};
use resnet::graph::Graph;
use resnet::kernels::precision::Matmul;
use resnet::model::zoo::Choice;
use resnet::model::{self, Arch, Mode, Stage, initialise};
use resnet::ops::tuning::TuningTable;
use resnet::plan::Limits;
use resnet::tensor::{DType, Shape, TensorDesc};
use resnet::train::{
    Cause, Event, Feed, Observer, Optimizer, Outcome, Program, Session, SessionSpec, Start,
    StepPlans, Trainer, checkpoint,
};
use safetensors::{SafeTensors, tensor::TensorView};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const BATCH: usize = 4;

/// Opens a fresh backend; a backend serves one graph.
pub type Open = fn() -> Box<dyn Backend>;

/// The CPU, and the GPU where there is one that stores such elements.
pub fn devices(stored: DType) -> Vec<(&'static str, Open)> {
    let mut devices: Vec<(&'static str, Open)> = vec![("cpu", || Box::new(Cpu::new().unwrap()))];
    let gpu = || device::open(device::adapter().unwrap(), Options::default());
    let stores = |gpu: Gpu| match stored {
        DType::F16 => gpu.stores_f16(),
        DType::Bf16 => gpu.stores_bf16(),
        _ => true,
    };
    if device::adapter().is_some() && stores(gpu()) {
        devices.push(("gpu", || {
            Box::new(device::open(device::adapter().unwrap(), Options::default()))
        }));
    }
    devices
}

/// The chapter's network, for ten classes.
pub fn resnet18(in_channels: usize) -> Arch {
    Choice::default().arch(in_channels, 10).unwrap()
}

pub fn narrow() -> Arch {
    let stages = [8, 12, 16, 20]
        .map(|width| Stage { blocks: 1, width })
        .to_vec();
    Arch {
        stem: 8,
        stages,
        ..resnet18(1)
    }
}

fn spec(momentum: f32) -> SessionSpec {
    SessionSpec {
        arch: narrow(),
        batch_size: BATCH,
        micro_batch: None,
        preprocess: Preprocess::of_size(32),
        feed: Feed::Resident,
        augmentation: None,
        views: false,
        limit_batches: Some(3),
        optimizer: Some(Optimizer::sgd(momentum, false, 0.0)),
        fuse: true,
        stored: DType::F32,
        tilings: TuningTable::default(),
    }
}

pub fn sample() -> Dataset {
    data::sample().unwrap()
}

fn session(
    spec: &SessionSpec,
    data: &Dataset,
    backend: Box<dyn Backend>,
    limits: Limits,
) -> Session {
    let prepared = StepPlans::new(spec, data, limits).unwrap();
    let mut session = Session::open(prepared, Arc::new(data.clone()), backend).unwrap();
    for (tensor, values) in initialise(session.params(), 7) {
        session.write(tensor, &values).unwrap();
    }
    session
}

/// A session of three batches on a device.
pub fn session_on(
    backend: Box<dyn Backend>,
    batch_size: usize,
    stored: DType,
    fuse: bool,
) -> Session {
    let optimizer = Optimizer::sgd(0.9, false, 0.0);
    session_with(optimizer, backend, batch_size, stored, fuse)
}

/// The same with another optimiser.
pub fn session_with(
    optimizer: Optimizer,
    backend: Box<dyn Backend>,
    batch_size: usize,
    stored: DType,
    fuse: bool,
) -> Session {
    let spec = SessionSpec {
        optimizer: Some(optimizer),
        batch_size,
        stored,
        fuse,
        ..spec(0.0)
    };
    let limits = backend.limits();
    session(&spec, &sample(), backend, limits)
}

/// The tensors in a file, by name.
pub fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, TensorView)| (name, view.data().to_vec());
    file.tensors().into_iter().map(tensor).collect()
}

/// The losses of three steps and the bits of every parameter after them.
fn three_steps(backend: Box<dyn Backend>, limits: Limits) -> (Vec<f32>, Vec<u32>) {
    let data = sample();
    let mut session = session(&spec(0.9), &data, backend, limits);
    session.set_learning_rate(1e-3).unwrap();
    for step in 0..3 {
        let indices: Vec<u32> = (0..BATCH as u32).map(|i| step * BATCH as u32 + i).collect();
        session.train(&indices).unwrap();
    }
    let losses = session.results().unwrap().iter().map(|r| r.loss).collect();
    let params = session.params().to_vec();
    let bits = params
        .iter()
        .flat_map(|p| session.read(p.tensor).unwrap())
        .map(f32::to_bits)
        .collect();
    (losses, bits)
}

#[test]
fn the_backends_agree_on_three_steps() {
    let (cpu, _) = three_steps(Box::new(Cpu::new().unwrap()), Limits::NONE);
    let Some((_, open)) = devices(DType::F32)
        .into_iter()
        .find(|(name, _)| *name == "gpu")
    else {
        return;
    };
    let gpu = open();
    let limits = gpu.limits();
    let (gpu, _) = three_steps(gpu, limits);
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert!(
            (cpu - gpu).abs() <= 1e-3 * cpu.abs(),
            "cpu {cpu}, gpu {gpu}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for (name, open) in devices(DType::F32) {
        let backend = || open();
        let limits = backend().limits();
        assert_eq!(
            three_steps(backend(), limits),
            three_steps(backend(), limits),
            "{name}"
        );
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let on = |threads| {
        let cpu = Cpu::open(NonZeroUsize::new(threads), Matmul::F32).unwrap();
        three_steps(Box::new(cpu), Limits::NONE)
    };
    let one = on(1);
    for threads in [2, 3, 7] {
        assert_eq!(on(threads), one, "{threads} threads");
    }
}

#[test]
fn chunks_along_n_change_nothing() {
    // The stem's output, 4 × 32 × 32 × 8 f32, has 128 KiB: what touches it is cut in two.
    let low = Limits {
        max_binding: 64 << 10,
        offset_alignment: 32,
        cooperative: None,
    };
    for (name, open) in devices(DType::F32) {
        // Parameters, gradients and images must fit whole, so only activations are to be cut.
        let (spec, data) = tiny();
        let prepared = StepPlans::new(
            &spec,
            &data,
            Limits {
                max_binding: 1 << 30,
                ..low
            },
        )
        .unwrap();
        let largest = prepared
            .plan(Program::Train)
            .unwrap()
            .slots
            .iter()
            .max()
            .copied()
            .unwrap();
        assert!(largest > low.max_binding);
        let limits = open().limits();
        let whole = first_step(open(), limits);
        assert_eq!(whole, first_step(open(), low), "{name}");
    }
}

/// A network whose data set and parameters are tiny, so that a low limit cuts only activations.
fn tiny() -> (SessionSpec, Dataset) {
    let mut data = sample();
    for images in [&mut data.train, &mut data.test] {
        images.pixels.truncate(2 * BATCH * 28 * 28);
        images.labels.truncate(2 * BATCH);
    }
    let stages = [8, 8].map(|width| Stage { blocks: 1, width }).to_vec();
    let spec = SessionSpec {
        arch: Arch { stages, ..narrow() },
        preprocess: Preprocess::of_size(64),
        ..spec(0.0)
    };
    (spec, data)
}

fn first_step(backend: Box<dyn Backend>, limits: Limits) -> (Vec<f32>, Vec<u32>) {
    let (spec, data) = tiny();
    let mut session = session(&spec, &data, backend, limits);
    session.set_learning_rate(1e-3).unwrap();
    session.train(&[0, 1, 2, 3]).unwrap();
    let losses = session.results().unwrap().iter().map(|r| r.loss).collect();
    let params = session.params().to_vec();
    let bits = params
        .iter()
        .flat_map(|p| session.read(p.tensor).unwrap())
        .map(f32::to_bits)
        .collect();
    (losses, bits)
}

/// Trains until `epochs` in `folder`, resuming what is there.
pub fn train(folder: &Path, backend: Box<dyn Backend>, epochs: usize, stored: DType) {
    let mut config = TrainConfig::default();
    config.run.epochs = epochs;
    config.random.seed = 7;
    config.batch.batch_size = BATCH;
    config.model.image_size = 32;
    config.limit.limit_batches = Some(3);
    config.optim.momentum = 0.9;
    config.hardware.precision = precision(stored);
    config.hardware.deterministic = true;
    run(folder, config, narrow(), &sample(), backend).unwrap();
}

/// Trains a network as `resnet train` does, in `folder`; goes on from the newest checkpoint if there is one.
pub fn run(
    folder: &Path,
    mut config: TrainConfig,
    arch: Arch,
    data: &Dataset,
    backend: Box<dyn Backend>,
) -> Result<()> {
    let start = match folder.join("checkpoints").exists() {
        true => Start::Resume(folder.to_path_buf()),
        false => Start::Fresh,
    };
    config.run.out = Some(folder.to_path_buf());
    let trainer = Trainer::new(config, arch, Arc::new(data.clone()), start)?;
    let outcome = trainer.run(backend, &mut [], &AtomicBool::new(false))?;
    assert_eq!(outcome, Outcome::Finished);
    Ok(())
}

/// The setting by which activations are stored so.
pub fn precision(stored: DType) -> Precision {
    match stored {
        DType::F16 => Precision::F16,
        DType::Bf16 => Precision::Bf16,
        _ => Precision::F32,
    }
}

#[test]
fn a_resumed_run_has_the_bits_of_an_unbroken_one() {
    for (name, open) in devices(DType::F32) {
        let (unbroken, broken) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        train(unbroken.path(), open(), 2, DType::F32);
        train(broken.path(), open(), 1, DType::F32);
        train(broken.path(), open(), 2, DType::F32);
        let weights = |folder: &TempDir| {
            let newest = checkpoint::latest(folder.path()).unwrap();
            std::fs::read(newest.join("weights.safetensors")).unwrap()
        };
        assert!(
            weights(&unbroken) == weights(&broken),
            "{name}: the weights differ"
        );
    }
}

/// Asks to stop once this step is done.
struct StopAt(u64, Arc<AtomicBool>);

impl Observer for StopAt {
    fn on(&mut self, event: &Event) -> Result<()> {
        if matches!(event, Event::Step { progress, .. } if progress.step >= self.0) {
            self.1.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The stop is asked for once the last step of the first epoch is told of, so that it comes to the evaluation.
#[test]
fn an_evaluation_is_stopped_too_and_the_run_goes_on_with_the_same_bits() {
    let mut config = TrainConfig::default();
    (config.run.epochs, config.batch.batch_size) = (2, BATCH);
    (config.model.image_size, config.limit.limit_batches) = (32, Some(3));
    let data = sample();
    let open = || Box::new(Cpu::new().unwrap());
    let (unbroken, broken) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    run(unbroken.path(), config.clone(), narrow(), &data, open()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut first = config.clone();
    first.run.out = Some(broken.path().to_path_buf());
    let trainer = Trainer::new(first, narrow(), Arc::new(data.clone()), Start::Fresh).unwrap();
    let mut observers: [Box<dyn Observer>; 1] = [Box::new(StopAt(3, Arc::clone(&stop)))];
    let outcome = trainer.run(open(), &mut observers, &stop).unwrap();
    assert_eq!(outcome, Outcome::Interrupted(Cause::Asked));
    let saved = checkpoint::latest(broken.path()).unwrap();
    assert!(saved.ends_with("step-00000003"));
    let state = std::fs::read(saved.join("state.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&state).unwrap();
    let progress = format!("{:?}", metadata.metadata());
    assert!(
        progress.contains(r#"\\\"history\\\":[]"#) || progress.contains(r#"\"history\":[]"#),
        "{progress}"
    );
    run(broken.path(), config, narrow(), &data, open()).unwrap();
    for file in ["weights.safetensors", "state.safetensors"] {
        let of = |run: &TempDir| tensors(&checkpoint::latest(run.path()).unwrap().join(file));
        assert!(of(&unbroken) == of(&broken), "{file} differs");
    }
}

/// AdamW's moments, the average of the weights and the place in the schedule are all kept.
#[test]
fn a_resumed_run_keeps_its_rule_and_its_schedule() {
    let mut config = TrainConfig::default();
    (config.run.epochs, config.run.save_every) = (2, Some(1));
    config.batch.batch_size = BATCH;
    config.model.image_size = 32;
    config.limit.limit_batches = Some(3);
    config.optim.optimizer = OptimizerName::AdamW;
    (config.optim.weight_decay, config.optim.ema) = (0.01, Some(0.9));
    (config.rate.schedule, config.rate.warmup) = (ScheduleName::Cosine, 2);
    config.rate.lr = 0.01;
    for (name, open) in devices(DType::F32) {
        let (unbroken, broken) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        run(unbroken.path(), config.clone(), narrow(), &sample(), open()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut first = config.clone();
        first.run.out = Some(broken.path().to_path_buf());
        let data = sample();
        let trainer = Trainer::new(first, narrow(), Arc::new(data.clone()), Start::Fresh).unwrap();
        let mut observers: [Box<dyn Observer>; 1] = [Box::new(StopAt(1, Arc::clone(&stop)))];
        let outcome = trainer.run(open(), &mut observers, &stop).unwrap();
        assert_eq!(outcome, Outcome::Interrupted(Cause::Asked));
        assert!(
            checkpoint::latest(broken.path())
                .unwrap()
                .ends_with("step-00000002")
        );
        run(broken.path(), config.clone(), narrow(), &data, open()).unwrap();
        for file in ["weights.safetensors", "state.safetensors"] {
            let of = |run: &TempDir| tensors(&checkpoint::latest(run.path()).unwrap().join(file));
            assert!(of(&unbroken) == of(&broken), "{name}: {file} differs");
        }
    }
}

#[test]
fn training_lowers_the_loss() {
    let data = sample();
    let spec = SessionSpec {
        batch_size: 32,
        ..spec(0.0)
    };
    let mut session = session(&spec, &data, Box::new(Cpu::new().unwrap()), Limits::NONE);
    session.set_learning_rate(0.05).unwrap();
    let indices: Vec<u32> = (0..32).collect();
    for _ in 0..30 {
        session.train(&indices).unwrap();
    }
    let losses: Vec<f32> = session.results().unwrap().iter().map(|r| r.loss).collect();
    assert!(losses[29] < 0.3 * losses[0], "{losses:?}");
}

#[test]
fn residual_blocks_keep_or_halve() {
    let arch = resnet18(3);
    let mut g = Graph::default();
    let x = g.input("x", TensorDesc::f32(Shape([4, 6, 6, 3])));
    let same = model::residual(&mut g, &arch, "a", x, 3, 1, Mode::TRAIN).unwrap();
    assert_eq!(g.shape(same), Shape([4, 6, 6, 3]));
    let halved = model::residual(&mut g, &arch, "b", x, 6, 2, Mode::TRAIN).unwrap();
    assert_eq!(g.shape(halved), Shape([4, 3, 3, 6]));
}
