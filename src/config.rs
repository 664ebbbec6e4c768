//! The settings of a training run: defaults, then a TOML file, then the environment, then flags.
mod micro_batch;

pub use micro_batch::MicroBatch;

use crate::kernels::precision::MatmulPrecision;
use crate::ops::tuning::TuningTable;
use crate::tensor::DType;
use anyhow::{Context, Result, bail, ensure};
use clap::builder::{BoolishValueParser, TypedValueParser};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What activations and their gradients are stored as. Arithmetic, sums, parameters and their gradients are
/// f32 in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, with a scaled loss: half the memory and traffic.
    F16,
    /// bfloat16, on the CPU: half the memory and traffic too, at fewer digits, in f32's range.
    Bf16,
}

impl Precision {
    /// The type of the stored elements.
    pub fn stored(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::Bf16,
        }
    }
}

/// The resolved settings, written into the run's folder.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Learning rate.
    pub lr: f32,
    /// Examples per step.
    pub batch_size: usize,
    /// Examples per pass of a step, which then has several; the whole batch when absent. A run's file has
    /// the number that `auto` came to.
    pub micro_batch: Option<MicroBatch>,
    /// Side to which the images are resized.
    pub image_size: usize,
    /// Decides the initial values and the order of the examples.
    pub seed: u64,
    /// `auto`, `cpu`, `gpu`, the number of an adapter or a part of its name.
    pub device: String,
    /// Folder of the data set, or `sample`; searched for when absent.
    pub data: Option<String>,
    /// Folder of the run; the first free `runs/NNN` when absent.
    pub out: Option<PathBuf>,
    /// The most batches per epoch and per test.
    pub limit_batches: Option<usize>,
    /// Steps between checkpoints within an epoch; every ten minutes when absent.
    pub save_every: Option<usize>,
    /// Whether every epoch has an order of its own, instead of the file's.
    pub shuffle: bool,
    /// Momentum of the gradient descent.
    pub momentum: f32,
    /// Nesterov's momentum instead of the classic one.
    pub nesterov: bool,
    /// Weight decay, added to the gradients.
    pub weight_decay: f32,
    /// Whether the steps are fused; it decides how sums are rounded.
    pub fuse: bool,
    /// How exactly matrices are multiplied; it decides how products are rounded.
    pub matmul_precision: MatmulPrecision,
    /// What activations and their gradients are stored as.
    pub precision: Precision,
    /// Whether convolutions are cut by their shapes alone, and not as is fastest on the device.
    pub deterministic: bool,
    /// How convolutions are cut that were tuned for the device; it decides the order of sums. A new run that
    /// has some already is not tuned.
    #[serde(skip_serializing_if = "TuningTable::is_empty")]
    pub tilings: TuningTable,
}

impl Default for TrainConfig {
    /// The chapter's settings (d2l.ai, section 7.6).
    fn default() -> TrainConfig {
        TrainConfig {
            epochs: 10,
            lr: 0.05,
            batch_size: 256,
            micro_batch: None,
            image_size: 96,
            seed: 0,
            device: "auto".to_string(),
            data: None,
            out: None,
            limit_batches: None,
            save_every: None,
            shuffle: true,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            fuse: true,
            matmul_precision: MatmulPrecision::Highest,
            precision: Precision::F32,
            deterministic: false,
            tilings: TuningTable::default(),
        }
    }
}

/// Settings that a file or the command line gives; the others stay as they are.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, clap::Args)]
#[serde(default)]
pub struct Overrides {
    /// Passes over the training images [default: 10].
    #[arg(long, env = "RESNET_EPOCHS")]
    pub epochs: Option<usize>,
    /// Learning rate [default: 0.05].
    #[arg(long, env = "RESNET_LR", allow_negative_numbers = true)]
    pub lr: Option<f32>,
    /// Examples per step [default: 256].
    #[arg(long, env = "RESNET_BATCH_SIZE")]
    pub batch_size: Option<usize>,
    /// Does a step in passes of so many examples, whose gradients are added up before the one update; it
    /// takes less memory. BatchNorm normalises each pass by itself, so the results are not those of the
    /// whole batch at once. `auto` takes the whole batch where it fits the device's memory
    /// [default: the whole batch].
    #[arg(long, env = "RESNET_MICRO_BATCH", value_name = "N|auto")]
    pub micro_batch: Option<MicroBatch>,
    /// Side to which the images are resized [default: 96].
    #[arg(long, env = "RESNET_IMAGE_SIZE")]
    pub image_size: Option<usize>,
    /// Decides the initial values and the order of the examples [default: 0].
    #[arg(long, env = "RESNET_SEED")]
    pub seed: Option<u64>,
    /// Device: auto, cpu, gpu, the number of an adapter or a part of its name [default: auto].
    #[arg(long, env = "RESNET_DEVICE")]
    pub device: Option<String>,
    /// Folder of the data set, or `sample` for the 2,500 images inside this program
    /// [default: where the Debian package or `resnet fetch` put it].
    #[arg(long, env = "RESNET_DATA")]
    pub data: Option<String>,
    /// Folder of the run, which must not exist yet [default: the first free runs/NNN].
    #[arg(long, env = "RESNET_OUT")]
    pub out: Option<PathBuf>,
    /// The most batches per epoch and per test.
    #[arg(long, env = "RESNET_LIMIT_BATCHES")]
    pub limit_batches: Option<usize>,
    /// Saves a checkpoint after so many steps too, not only after every epoch [default: every ten minutes].
    #[arg(long, env = "RESNET_SAVE_EVERY", value_name = "STEPS")]
    pub save_every: Option<usize>,
    /// Takes the examples in the order of the file.
    #[arg(long = "no-shuffle", env = "RESNET_NO_SHUFFLE", value_parser = negated(),
        num_args = 0, default_missing_value = "true")]
    pub shuffle: Option<bool>,
    /// Momentum of the gradient descent [default: 0].
    #[arg(long, env = "RESNET_MOMENTUM", allow_negative_numbers = true)]
    pub momentum: Option<f32>,
    /// Nesterov's momentum instead of the classic one.
    #[arg(
        long,
        env = "RESNET_NESTEROV", value_parser = BoolishValueParser::new(),
        num_args = 0,
        default_missing_value = "true"
    )]
    pub nesterov: Option<bool>,
    /// Weight decay, added to the gradients [default: 0].
    #[arg(long, env = "RESNET_WEIGHT_DECAY", allow_negative_numbers = true)]
    pub weight_decay: Option<f32>,
    /// Runs every node by itself, as the reference for the fused steps.
    #[arg(long = "no-fuse", env = "RESNET_NO_FUSE", value_parser = negated(),
        num_args = 0, default_missing_value = "true")]
    pub fuse: Option<bool>,
    /// How exactly matrices are multiplied, as in PyTorch: highest is f32; high about 16 bits of mantissa by AMX;
    /// medium 8 bits by AMX or AVX-512, 11 bits by a GPU's cooperative matrices with --precision f16. A device
    /// without these computes in f32 and says so [default: highest].
    #[arg(long, env = "RESNET_MATMUL_PRECISION", value_enum)]
    pub matmul_precision: Option<MatmulPrecision>,
    /// What activations and their gradients are stored as; f16 halves memory and traffic where the adapter
    /// has shader-f16, bf16 does on the CPU [default: f32].
    #[arg(long, env = "RESNET_PRECISION", value_enum)]
    pub precision: Option<Precision>,
    /// Takes the kernels that the shapes alone decide instead of timing them on a GPU first, so that the
    /// results do not depend on what was fastest there.
    #[arg(
        long,
        env = "RESNET_DETERMINISTIC", value_parser = BoolishValueParser::new(),
        num_args = 0,
        default_missing_value = "true"
    )]
    pub deterministic: Option<bool>,
    /// What an earlier run was tuned to, in its file.
    #[arg(skip)]
    pub tilings: Option<TuningTable>,
}

/// `--no-shuffle` and `--no-fuse` say the opposite of the settings they stand for.
fn negated() -> impl TypedValueParser<Value = bool> {
    BoolishValueParser::new().map(|no| !no)
}

/// Every key of a file, in the order of [`TrainConfig`].
const KEYS: [&str; 20] = [
    "epochs",
    "lr",
    "batch_size",
    "micro_batch",
    "image_size",
    "seed",
    "device",
    "data",
    "out",
    "limit_batches",
    "save_every",
    "shuffle",
    "momentum",
    "nesterov",
    "weight_decay",
    "fuse",
    "matmul_precision",
    "precision",
    "deterministic",
    "tilings",
];

/// The settings of a new run: defaults, then `file`, then `flags` (into which the environment went).
///
/// # Errors
/// When the file cannot be read, has an unknown key or a wrong value, or a value is out of range.
pub fn resolve(file: Option<&Path>, flags: &Overrides) -> Result<TrainConfig> {
    let mut config = TrainConfig::default();
    if let Some(path) = file {
        read(path)?.apply(&mut config);
    }
    flags.apply(&mut config);
    config.check()?;
    if config.deterministic {
        config.tilings = TuningTable::default();
    }
    Ok(config)
}

/// Reads a file of settings.
fn read(path: &Path) -> Result<Overrides> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("--config {}: the file cannot be read", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{}", path.display()))?;
    for key in table.keys() {
        if !KEYS.contains(&key.as_str()) {
            let near = |known: &&&str| (strsim::jaro_winkler(key, known) * 1e6) as u64;
            let nearest = KEYS.iter().max_by_key(near).expect("there are keys");
            bail!(
                "{}: unknown key `{key}`; did you mean `{nearest}`?",
                path.display()
            );
        }
    }
    toml::from_str(&text).with_context(|| format!("{}", path.display()))
}

impl Overrides {
    fn apply(&self, config: &mut TrainConfig) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        set(&mut config.epochs, &self.epochs);
        set(&mut config.lr, &self.lr);
        set(&mut config.batch_size, &self.batch_size);
        set(&mut config.image_size, &self.image_size);
        set(&mut config.seed, &self.seed);
        set(&mut config.device, &self.device);
        set(&mut config.shuffle, &self.shuffle);
        set(&mut config.momentum, &self.momentum);
        set(&mut config.nesterov, &self.nesterov);
        set(&mut config.weight_decay, &self.weight_decay);
        set(&mut config.fuse, &self.fuse);
        set(&mut config.matmul_precision, &self.matmul_precision);
        set(&mut config.precision, &self.precision);
        set(&mut config.deterministic, &self.deterministic);
        set(&mut config.tilings, &self.tilings);
        config.data = self.data.clone().or(config.data.take());
        config.out = self.out.clone().or(config.out.take());
        config.limit_batches = self.limit_batches.or(config.limit_batches);
        config.micro_batch = self.micro_batch.or(config.micro_batch);
        config.save_every = self.save_every.or(config.save_every);
    }

    /// The settings of a resumed run: its own, with a new number of epochs, learning rate, device, place of
    /// the data or distance of the checkpoints. Everything else decides the bits of what was already done.
    ///
    /// # Errors
    /// When another setting differs from the run's, or a value is out of range.
    pub fn resume(&self, run: TrainConfig) -> Result<TrainConfig> {
        let mut config = run.clone();
        self.apply(&mut config);
        config.check()?;
        let free = TrainConfig {
            epochs: config.epochs,
            lr: config.lr,
            device: config.device.clone(),
            data: config.data.clone(),
            save_every: config.save_every,
            ..run.clone()
        };
        ensure!(
            config == free,
            "a resumed run keeps its settings: only --epochs, --lr, --device, --data and --save-every may \
             change. To start a new run from its weights, take --init with a weights.safetensors of the run"
        );
        Ok(config)
    }
}

impl TrainConfig {
    fn check(&self) -> Result<()> {
        let in_range = |name: &str, value: f32, range: &str, right: bool| {
            ensure!(right, "--{name} {value}: must be {range}");
            Ok(())
        };
        let at_least = |name: &str, value: usize, least: usize, why: &str| {
            ensure!(
                value >= least,
                "--{name} {value}: must be at least {least}{why}"
            );
            Ok(())
        };
        at_least("epochs", self.epochs, 1, "")?;
        at_least(
            "batch-size",
            self.batch_size,
            2,
            ", since BatchNorm takes the spread of a batch",
        )?;
        at_least(
            "micro-batch",
            self.micro_batch.and_then(MicroBatch::examples).unwrap_or(2),
            2,
            ", since BatchNorm takes the spread of a pass",
        )?;
        at_least("image-size", self.image_size, 1, "")?;
        at_least("save-every", self.save_every.unwrap_or(1), 1, "")?;
        at_least("limit-batches", self.limit_batches.unwrap_or(1), 1, "")?;
        ensure!(
            i64::try_from(self.seed).is_ok(),
            "--seed {}: must be below 2^63",
            self.seed
        );
        let (lr, decay) = (self.lr, self.weight_decay);
        in_range("lr", lr, "a positive number", lr > 0.0 && lr.is_finite())?;
        in_range(
            "momentum",
            self.momentum,
            "from 0 to below 1",
            (0.0..1.0).contains(&self.momentum),
        )?;
        in_range(
            "weight-decay",
            decay,
            "zero or more",
            decay >= 0.0 && decay.is_finite(),
        )?;
        ensure!(
            !self.nesterov || self.momentum > 0.0,
            "--nesterov needs a --momentum above 0"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
