//! A small training that several tests run: fourteen images in batches of eight.
use crate::training::{narrow, sample};
use anyhow::Result;
use resnet::backend::Backend;
use resnet::config::TrainConfig;
use resnet::data::Dataset;
use resnet::model::{Arch, initialise};
use resnet::ops::tuning::TuningTable;
use resnet::report::{Console, Progress};
use resnet::tensor::DType;
use resnet::train::checkpoint::{self, WeightsInfo};
use resnet::train::{Optimizer, Run, Session, SessionSpec, StepPlans};
use std::path::Path;
use std::sync::atomic::AtomicBool;

pub const BATCH: usize = 8;
pub const SIZE: usize = 32;
pub const LR: f32 = 0.0625;

pub const OPTIMIZER: Optimizer = Optimizer {
    momentum: 0.75,
    nesterov: true,
    weight_decay: 0.03125,
};

/// Fourteen images: a batch of eight and a remainder of six.
pub fn few() -> Dataset {
    let mut data = sample();
    let images = &mut data.train;
    images.count = 14;
    images.pixels.truncate(14 * images.size * images.size);
    images.labels.truncate(14);
    data
}

/// Two stages, so that BatchNorm has many values in a pass of two images and rounding stays small.
pub fn arch() -> Arch {
    let mut arch = narrow();
    arch.stages.truncate(2);
    arch
}

pub fn spec(micro_batch: Option<usize>, fuse: bool) -> SessionSpec {
    SessionSpec {
        arch: arch(),
        batch_size: BATCH,
        micro_batch,
        image_size: SIZE,
        limit_batches: None,
        optimizer: Some(OPTIMIZER),
        fuse,
        stored: DType::F32,
        tilings: TuningTable::default(),
    }
}

pub fn session(spec: &SessionSpec, data: &Dataset, backend: Box<dyn Backend>) -> Session {
    let prepared = StepPlans::new(spec, data, backend.limits()).unwrap();
    let mut session = Session::open(prepared, data, backend).unwrap();
    for (tensor, values) in initialise(session.params(), 7) {
        session.write(tensor, &values).unwrap();
    }
    session.set_learning_rate(LR).unwrap();
    session
}

/// Trains until `config.epochs` in `folder` as `resnet train` does, going on from the newest checkpoint if there is
/// one.
pub fn train_in(
    folder: &Path,
    config: &TrainConfig,
    spec: &SessionSpec,
    backend: Box<dyn Backend>,
) -> Result<()> {
    let data = few();
    let mut session = session(spec, &data, backend);
    let mut progress = match folder.join("checkpoints").exists() {
        true => checkpoint::load(&mut session, &checkpoint::latest(folder)?)?,
        false => Progress::default(),
    };
    let info = WeightsInfo {
        arch: spec.arch.clone(),
        image_size: SIZE,
        classes: data.classes.clone(),
    };
    let run = Run {
        config,
        folder,
        info: &info,
        train_count: data.train.count,
        test_count: data.test.count,
        interrupted: &AtomicBool::new(false),
    };
    let mut console = Console::new(false, config.run.epochs);
    run.train(&mut session, &mut progress, &mut console)?;
    Ok(())
}
