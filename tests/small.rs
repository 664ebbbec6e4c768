//! A small training that several tests run: fourteen images in batches of eight.
use crate::training::{narrow, run, sample};
use anyhow::Result;
use resnet::backend::Backend;
use resnet::config::{MicroBatch, TrainConfig};
use resnet::data::{Dataset, Preprocess};
use resnet::model::{Arch, initialise};
use resnet::ops::tuning::TuningTable;
use resnet::tensor::DType;
use resnet::train::{Feed, Optimizer, Session, SessionSpec, StepPlans};
use std::path::Path;
use std::sync::Arc;

pub const BATCH: usize = 8;
pub const SIZE: usize = 32;
pub const LR: f32 = 0.0625;

pub const MOMENTUM: f32 = 0.75;
pub const OPTIMIZER: Optimizer = Optimizer::sgd(MOMENTUM, true, 0.03125);

/// Fourteen images: a batch of eight and a remainder of six.
pub fn few() -> Dataset {
    let mut data = sample();
    let bytes = 14 * data.info.image_bytes();
    data.train.pixels.truncate(bytes);
    data.train.labels.truncate(14);
    data
}

/// Two stages, so that BatchNorm has many values in a pass of two images and rounding stays small.
pub fn arch() -> Arch {
    let mut arch = narrow();
    arch.stages.truncate(2);
    arch
}

/// One stage: as few pipelines as a training has, which a software adapter takes seconds each to compile.
pub fn shallow() -> Arch {
    let mut arch = narrow();
    arch.stages.truncate(1);
    arch
}

pub fn spec(micro_batch: Option<usize>, fuse: bool) -> SessionSpec {
    SessionSpec {
        arch: arch(),
        batch_size: BATCH,
        micro_batch,
        preprocess: Preprocess::of_size(SIZE),
        feed: Feed::Resident,
        augmentation: None,
        views: false,
        limit_batches: None,
        optimizer: Some(OPTIMIZER),
        fuse,
        stored: DType::F32,
        tilings: TuningTable::default(),
    }
}

pub fn session(spec: &SessionSpec, data: &Dataset, backend: Box<dyn Backend>) -> Session {
    let prepared = StepPlans::new(spec, data, backend.limits()).unwrap();
    let mut session = Session::open(prepared, Arc::new(data.clone()), backend).unwrap();
    for (tensor, values) in initialise(session.params(), 7) {
        session.write(tensor, &values).unwrap();
    }
    session.set_learning_rate(LR).unwrap();
    session
}

/// The settings of such a training, which come to [`spec`].
pub fn config(micro_batch: Option<usize>, epochs: usize) -> TrainConfig {
    let mut config = TrainConfig::default();
    config.run.epochs = epochs;
    config.rate.lr = LR;
    config.batch.batch_size = BATCH;
    config.batch.micro_batch = micro_batch.map(MicroBatch::Examples);
    config.model.image_size = SIZE;
    config.optim.momentum = MOMENTUM;
    config.optim.nesterov = true;
    config.optim.weight_decay = OPTIMIZER.weight_decay;
    config.optim.decay_all = OPTIMIZER.decay_all;
    config.hardware.deterministic = true;
    config
}

/// Trains with these settings in `folder` as `resnet train` does, going on from the newest checkpoint if there is
/// one.
pub fn train_in(folder: &Path, config: TrainConfig, backend: Box<dyn Backend>) -> Result<()> {
    run(folder, config, arch(), &few(), backend)
}
