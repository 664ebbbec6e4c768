//! A trained network: where its weights are and how it is run, shared by the commands that take one.
use super::hardware::Hardware;
use crate::backend::Choice;
use crate::config::{MicroBatch, Precision, TrainConfig};
use crate::data::Dataset;
use crate::kernels::precision::MatmulPrecision;
use crate::train::checkpoint::{self, WeightsInfo};
use crate::train::{Session, SessionSpec, StepPlans, folder};
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// Which network, and how it is run.
#[derive(clap::Args)]
pub struct Trained {
    /// A run's folder, one of its checkpoints, or a file of weights.
    pub checkpoint: PathBuf,
    /// Device: auto, cpu, gpu, the number of an adapter or a part of its name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Folder with the data set, or `sample`; by default what the run was trained on.
    #[arg(long)]
    data: Option<String>,
    /// Images per step.
    #[arg(long)]
    batch_size: Option<usize>,
    #[command(flatten)]
    hardware: Hardware,
    /// How exactly matrices are multiplied, as in PyTorch: in f32, about 16 bits of mantissa, or 8; medium on a GPU
    /// means 11, by its cooperative matrices and with --precision f16.
    #[arg(long, value_enum, default_value_t)]
    matmul_precision: MatmulPrecision,
    /// Runs every node by itself, as the reference for the fused steps.
    #[arg(long)]
    no_fuse: bool,
    /// What activations are stored as; by default what the run was trained with.
    #[arg(long, value_enum)]
    precision: Option<Precision>,
}

/// A file of weights with what is known about it.
pub struct Checkpoint {
    /// The file.
    pub weights: PathBuf,
    /// What it tells about itself.
    pub info: WeightsInfo,
    /// How it is run.
    pub config: TrainConfig,
}

impl Trained {
    /// Finds the weights and how to run them; nothing is put on a device.
    ///
    /// # Errors
    /// When the checkpoint cannot be read or a flag is out of range.
    pub fn read(&self) -> Result<Checkpoint> {
        let weights = checkpoint::weights_of(&self.checkpoint)?;
        let info = checkpoint::read_info(&weights)?;
        // A run's folder also tells what it was trained on; a file alone has the defaults.
        let mut config = match self.checkpoint.join("config.toml").is_file() {
            true => folder::read_config(&self.checkpoint)?,
            false => TrainConfig::default(),
        };
        config.data = self.data.clone().or(config.data);
        config.precision = self.precision.unwrap_or(config.precision);
        config.batch_size = self.batch_size.unwrap_or(config.batch_size);
        config.fuse &= !self.no_fuse;
        ensure!(config.batch_size > 0, "--batch-size must be at least 1");
        Ok(Checkpoint {
            weights,
            info,
            config,
        })
    }

    /// Puts the network on the device, ready to evaluate the test images of `data`.
    ///
    /// # Errors
    /// When the data do not fit the network, or the device is not there, too small or fails.
    pub fn open(&self, checkpoint: &Checkpoint, data: &Dataset) -> Result<Session> {
        let Checkpoint {
            weights,
            info,
            config,
        } = checkpoint;
        let arch = info.arch.clone();
        ensure!(
            data.classes.len() == arch.classes && data.test.channels == arch.in_channels,
            "{} was trained for {} classes and {} channel(s), but {} has {} and {}",
            weights.display(),
            arch.classes,
            arch.in_channels,
            data.name,
            data.classes.len(),
            data.test.channels
        );
        let backend = self
            .hardware
            .open(&self.device, self.matmul_precision, config.precision)?;
        let spec = SessionSpec {
            arch,
            batch_size: config.batch_size,
            micro_batch: config.micro_batch.and_then(MicroBatch::examples),
            image_size: info.image_size,
            limit_batches: config.limit_batches,
            optimizer: None,
            fuse: config.fuse,
            stored: config.precision.stored(),
            tilings: config.tilings.clone(),
        };
        let prepared = StepPlans::new(&spec, data, backend.limits())?;
        prepared.check_memory(&spec, data, backend.as_ref())?;
        let mut session = Session::open(prepared, data, backend)?;
        checkpoint::load_weights(&mut session, weights)?;
        Ok(session)
    }
}
