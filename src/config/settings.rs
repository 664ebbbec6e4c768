//! Every setting, declared once: its field, type, default, range, help and whether a resumed run may change it. The
//! flag, the `RESNET_…` variable, the key of a file and the row in `docs/settings.md` follow from it.
use super::augment::Augment;
use super::counts::{Counts, LAYERS, SHAPE, blocks, epochs};
use super::levels::{CHANNELS, Levels, deviations, means};
use super::range::{
    BATCH, EPOCHS, FILES, IMAGE_SIZE, SEED, STEPS, STEPS_OR_NONE, above_zero, finite_from_zero,
    folder_name, named, share, threads,
};
use super::time_span::TimeSpan;
use super::val_split::ValSplit;
use super::{MicroBatch, Usage};
use crate::data::{Fit, Preprocess};
use crate::kernels::precision::MatmulPrecision;
use crate::model::Frozen;
use crate::model::Stem;
use crate::model::zoo::{Choice, Name, Variant};
use crate::ops::tuning::TuningTable;
use crate::tensor::DType;
use anyhow::Result;
use clap::ArgAction;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The group of the settings that a resumed run may change. The others decide the bits of what is already done.
pub const ON_RESUME: &str = "on_resume";

/// All settings. In a file they stand side by side, under the names of their fields.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
pub struct TrainConfig {
    /// Which device, and how.
    #[command(flatten)]
    #[serde(flatten)]
    pub hardware: Hardware,
    /// Where the images come from.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: Data,
    /// What pictures are made into.
    #[command(flatten)]
    #[serde(flatten)]
    pub pictures: Pictures,
    /// How the images get to the device.
    #[command(flatten)]
    #[serde(flatten)]
    pub feeding: Feeding,
    /// What a training does with them.
    #[command(flatten)]
    #[serde(flatten)]
    pub training: Training,
    /// What happens to training images at random.
    #[command(flatten)]
    #[serde(flatten)]
    pub augment: Augment,
    /// How many batches.
    #[command(flatten)]
    #[serde(flatten)]
    pub limit: Limit,
    /// How examples are batched.
    #[command(flatten)]
    #[serde(flatten)]
    pub batch: Batch,
    /// Which network.
    #[command(flatten)]
    #[serde(flatten)]
    pub network: Network,
    /// What its weights are at first.
    #[command(flatten)]
    #[serde(flatten)]
    pub begin: Begin,
    /// What the network is given.
    #[command(flatten)]
    #[serde(flatten)]
    pub model: Model,
    /// How images are prepared besides.
    #[command(flatten)]
    #[serde(flatten)]
    pub preprocessing: Preprocessing,
    /// How weights follow their gradients.
    #[command(flatten)]
    #[serde(flatten)]
    pub optim: Optim,
    /// How long the steps are.
    #[command(flatten)]
    #[serde(flatten)]
    pub rate: Rate,
    /// The course of a run.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: Run,
    /// What the seed decides.
    #[command(flatten)]
    #[serde(flatten)]
    pub random: Random,
    /// How convolutions are cut that were autotuned for the device; it decides the order of sums. Only files have it.
    #[arg(skip)]
    #[serde(skip_serializing_if = "TuningTable::is_empty")]
    pub tilings: TuningTable,
}

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

/// How parameters follow their gradients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum OptimizerName {
    /// Stochastic gradient descent.
    Sgd,
    /// Adaptive moments with decoupled weight decay.
    AdamW,
}

/// How much classes count in the loss that is trained on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All alike.
    Equal,
    /// By `n / (k · n_c)`, of `n` training images of `k` classes, of which `n_c` are the class's.
    Balanced,
}

/// What the learning rate does after the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// It stays.
    Constant,
    /// It falls by a factor after every few epochs.
    Step,
    /// It falls by a factor after some epochs.
    Multistep,
    /// It falls along a line.
    Linear,
    /// It falls along half a cosine wave (<https://arxiv.org/abs/1608.03983>).
    Cosine,
    /// It rises and falls, each along half a cosine wave (<https://arxiv.org/abs/1708.07120>).
    OneCycle,
}

/// Which device is used, and how.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Device")]
pub struct Hardware {
    /// auto, cpu, gpu, the number of an adapter or a part of its name.
    #[arg(long, default_value = "auto", value_parser = named, group = ON_RESUME)]
    pub device: String,
    /// Threads of the CPU device [default: all cores]. The results do not depend on it.
    #[arg(long, value_name = "N", value_parser = threads, group = ON_RESUME)]
    pub threads: Option<NonZeroUsize>,
    /// What activations and their gradients are stored as. f16 halves memory and traffic where the adapter has
    /// shader-f16, bf16 does so on the CPU.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Precision,
    /// How exactly matrices are multiplied, as in PyTorch. highest: f32. high: about 16 bits of mantissa, by AMX.
    /// medium: 8 bits, by AMX or AVX-512, or 11 by a GPU's cooperative matrices with --precision f16. A device without
    /// these units computes in f32 and says so.
    #[arg(long, value_enum, default_value = "highest")]
    pub matmul_precision: MatmulPrecision,
    /// Turns fusion off: the reference for the fused steps.
    #[arg(long = "no-fuse", action = ArgAction::SetFalse)]
    pub fuse: bool,
    /// Turns autotuning off: the shapes alone choose the kernels, so that results do not depend on what was fastest.
    #[arg(long)]
    pub deterministic: bool,
    /// Keeps wgpu's run-time checks in the GPU kernels: slower, and safe with any driver. OpenGL has none.
    #[arg(long, group = ON_RESUME)]
    pub checked: bool,
}

/// Where the images come from.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct Data {
    /// Folder of pictures or of another data set, or a name: fashion-mnist, mnist, kmnist, cifar10 (where `resnet fetch` or
    /// Debian's package put them), or sample, the 2,500 images inside this program [default: fashion-mnist].
    #[arg(long, value_name = "DIR|NAME", value_parser = named, group = ON_RESUME)]
    pub data: Option<String>,
    /// CSV or TSV file with a row `path,label` for each picture, told from --data on or from the file's folder. A first row
    /// may name the columns, and one of them `split`: train, val or test [default: folders tell the classes].
    #[arg(long, value_name = "FILE", group = ON_RESUME)]
    pub labels: Option<PathBuf>,
    /// Pictures that may be broken and are left out [default: 1 %, and 5 at least].
    #[arg(long, value_name = "N", value_parser = FILES.parser::<usize>(), group = ON_RESUME)]
    pub max_broken: Option<usize>,
    /// Lets a class have no pictures.
    #[arg(long, group = ON_RESUME)]
    pub allow_empty: bool,
}

/// What pictures are made into. Files of weights tell it.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct Pictures {
    /// Channels that pictures get: 1 (grey), 3 (colour), or auto: 1 where all are grey.
    #[arg(long, value_enum, default_value = "auto")]
    pub channels: Channels,
    /// How pictures become squares. crop: the shorter side is resized, and the middle of the longer one is kept. pad: the
    /// longer side is resized, and black is put around. stretch: each side is resized by itself.
    #[arg(long, value_enum, default_value = "crop")]
    pub fit: Fit,
}

/// Channels of images that are made of pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
pub enum Channels {
    /// Grey.
    #[serde(rename = "1")]
    #[value(name = "1")]
    One,
    /// Red, green and blue.
    #[serde(rename = "3")]
    #[value(name = "3")]
    Three,
    /// Grey where all pictures are grey.
    #[serde(rename = "auto")]
    Auto,
}

impl Channels {
    /// So many, where pictures can have them.
    pub fn of(number: usize) -> Option<Channels> {
        match number {
            1 => Some(Channels::One),
            3 => Some(Channels::Three),
            _ => None,
        }
    }

    /// How many, unless the pictures are to decide it.
    pub fn number(self) -> Option<usize> {
        match self {
            Channels::One => Some(1),
            Channels::Three => Some(3),
            Channels::Auto => None,
        }
    }
}

/// How the images get to the device.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct Feeding {
    /// resident: all images stay in the device's memory. streamed: the host sends each step its own, while the one before
    /// computes. auto: resident where they take at most half of the memory. The results are the same bits.
    #[arg(long, value_enum, default_value = "auto", group = ON_RESUME)]
    pub feed: FeedName,
}

/// Where the images are that steps take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FeedName {
    /// On the device where they fit.
    Auto,
    /// On the device.
    Resident,
    /// With the host.
    Streamed,
}

/// What a training does with its images.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct Training {
    /// Holds out N training images for validation, or a share of them such as 0.1, of every class as many [default: none].
    /// The best checkpoint is then chosen on them, and the test images, if there are any, are evaluated once, at the end.
    #[arg(long, value_name = "N|SHARE")]
    pub val_split: Option<ValSplit>,
    /// Trains on the first N batches alone, the same in every epoch, and validates on them: a network that works brings
    /// their loss to zero [default: all].
    #[arg(long, value_name = "N", value_parser = STEPS.parser::<usize>())]
    pub overfit: Option<usize>,
}

/// How many batches an epoch has.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct Limit {
    /// Stops each epoch and evaluation after N batches [default: all].
    #[arg(long, value_name = "N", value_parser = STEPS.parser::<usize>())]
    pub limit_batches: Option<usize>,
}

/// How examples are batched.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Batch")]
pub struct Batch {
    /// Examples per step.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = BATCH.parser::<usize>())]
    pub batch_size: usize,
    /// Gradient accumulation: micro-batches of N examples, one update [default: the whole batch]. It takes less
    /// memory. BatchNorm normalises each micro-batch by itself, so results differ from those of the whole batch.
    /// `auto` takes the whole batch where it fits the device's memory.
    #[arg(long, value_name = "N|auto")]
    pub micro_batch: Option<MicroBatch>,
}

/// Which network. Weights that are there tell theirs, so that only commands that make a network have these.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct Network {
    /// Depth of the network: 18, 34 (basic blocks), 50, 101 or 152 layers (bottlenecks), or, for small images, 20, 32, 44,
    /// 56 or 110, which have a 3×3 stem of 16 channels and three stages.
    #[arg(long, value_enum, default_value = "resnet18")]
    pub arch: Name,
    /// d2l: biased convolutions, no BatchNorm on shortcuts. torchvision: no biases, and BatchNorm on shortcuts that
    /// project [default: d2l for resnet18 and resnet34, torchvision for all others].
    #[arg(long, value_enum)]
    pub variant: Option<Variant>,
    /// Pre-activation: BatchNorm and ReLU before each convolution, and none on shortcuts (He et al. 2016).
    #[arg(long)]
    pub preact: bool,
    /// imagenet: a 7×7 convolution and a max-pool, which halve twice. cifar: a 3×3 convolution, which halves nothing, for
    /// images of 28 or 32 pixels [default: that of --arch].
    #[arg(long, value_enum)]
    pub stem: Option<Stem>,
    /// Channels of each stage's 3×3 convolutions, with commas between; the stem has those of the first [default: those
    /// of --arch].
    #[arg(long, value_name = SHAPE)]
    pub widths: Option<Counts>,
    /// Blocks of each of 1 to 6 stages, with commas between [default: those of --arch].
    #[arg(long, value_name = SHAPE, value_parser = blocks)]
    pub blocks: Option<Counts>,
    /// Lets each residual branch begin as zero: the scale of its last BatchNorm, as in torchvision, or with --preact its
    /// last convolution, as in timm.
    #[arg(long)]
    pub zero_init_residual: bool,
}

impl Network {
    /// The network that the settings choose.
    pub fn choice(&self) -> Choice {
        Choice {
            name: self.arch,
            variant: self.variant,
            preact: self.preact,
            stem: self.stem,
            widths: self.widths.clone().map(Counts::numbers),
            blocks: self.blocks.clone().map(Counts::numbers),
        }
    }

    /// The settings that choose this.
    pub fn choose(&mut self, choice: Choice) {
        let zero_init_residual = self.zero_init_residual;
        let Choice {
            name,
            variant,
            preact,
            stem,
            widths,
            blocks,
        } = choice;
        *self = Network {
            arch: name,
            variant,
            preact,
            stem,
            widths: widths.map(Counts::from),
            blocks: blocks.map(Counts::from),
            zero_init_residual,
        };
    }
}

/// What the weights are at first.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct Begin {
    /// Starts from the weights in this safetensors file, with PyTorch's names and layouts, or the newest of a run. The
    /// network is theirs [default: initial values by --seed].
    #[arg(long, value_name = "FILE|RUN")]
    pub init: Option<PathBuf>,
    /// With --init: begins with a new last layer, which may have other classes, and takes the rest of the weights.
    #[arg(long)]
    pub new_head: bool,
}

/// What the network is given.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct Model {
    /// Side in pixels to which images are resized.
    #[arg(long, value_name = "PIXELS", default_value_t = 96, value_parser = IMAGE_SIZE.parser::<usize>())]
    pub image_size: usize,
}

/// How images are prepared besides being as large as the network takes them. Files of weights tell it.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct Preprocessing {
    /// Resizes the shorter side of images to so many pixels first, and keeps the middle of --image-size, as torchvision's
    /// Resize and CenterCrop do [default: --image-size, so that nothing is cut off].
    #[arg(long, value_name = "PIXELS", value_parser = IMAGE_SIZE.parser::<usize>())]
    pub resize: Option<usize>,
    /// Mean of each channel's levels, divided by 255, which is subtracted [default: none].
    #[arg(long, value_name = CHANNELS, value_parser = means)]
    pub mean: Option<Levels>,
    /// Standard deviation of each channel's levels, divided by 255, by which they are divided then [default: none].
    #[arg(long, value_name = CHANNELS, value_parser = deviations)]
    pub std: Option<Levels>,
}

impl Preprocessing {
    /// What is done to images that become squares of `size`.
    pub fn preprocess(&self, size: usize) -> Preprocess {
        let levels = |levels: &Option<Levels>| {
            let levels = levels.as_ref();
            levels.map_or(Vec::new(), |levels| levels.0.clone())
        };
        Preprocess {
            size,
            resize: self.resize.filter(|resize| *resize != size),
            mean: levels(&self.mean),
            std: levels(&self.std),
            fit: None,
        }
    }

    /// Refuses what settings ask for that is no preprocessing of images of so many channels.
    ///
    /// # Errors
    /// Naming the settings and the number that is out of its range.
    pub fn check(preprocess: &Preprocess, channels: usize) -> Result<()> {
        let of = |flags: &str, checked: Result<()>| {
            checked.map_err(|why| Usage::error(format!("{flags}: {why}")))
        };
        of("--image-size and --resize", preprocess.check_sides())?;
        of("--mean and --std", preprocess.check_levels(channels))
    }
}

/// How weights follow their gradients.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Optimiser")]
pub struct Optim {
    /// sgd: stochastic gradient descent. adamw: adaptive moments with decoupled weight decay.
    #[arg(long, value_enum, default_value = "sgd")]
    pub optimizer: OptimizerName,
    /// Momentum of sgd.
    #[arg(long, default_value_t = 0.0, value_parser = share::<f32>)]
    pub momentum: f32,
    /// Nesterov's momentum instead of the classic one, for sgd.
    #[arg(long)]
    pub nesterov: bool,
    /// Decay of adamw's mean of the gradients.
    #[arg(long, default_value_t = 0.9, value_parser = share::<f64>)]
    pub beta1: f64,
    /// Decay of adamw's mean of the squared gradients.
    #[arg(long, default_value_t = 0.999, value_parser = share::<f64>)]
    pub beta2: f64,
    /// Added to the square root that adamw divides by.
    #[arg(long, default_value_t = 1e-8, value_parser = above_zero::<f32>)]
    pub eps: f32,
    /// Weight decay of the weights of convolutions and of the linear layer: added to the gradient by sgd, taken from the
    /// weight by adamw.
    #[arg(long, default_value_t = 0.0, value_parser = finite_from_zero)]
    pub weight_decay: f32,
    /// Weight decay of biases and BatchNorms too.
    #[arg(long)]
    pub decay_all: bool,
    /// Share of the target that is spread over all classes, in the loss that is trained on.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share::<f32>)]
    pub label_smoothing: f32,
    /// How much classes count in the loss that is trained on. equal: all alike. balanced: each inversely to its number of
    /// training images, so that rare ones count as much as frequent ones.
    #[arg(long, value_enum, default_value = "equal")]
    pub class_weights: ClassWeights,
    /// Keeps an exponential moving average of the weights with this decay, such as 0.999, in the checkpoint's state; eval
    /// and predict take it by their --ema.
    #[arg(long, value_name = "DECAY", value_parser = share::<f64>)]
    pub ema: Option<f64>,
    /// Layers that are not trained, such as stem,layer1: stem, or layer1, layer2 and so on, with commas between. Their
    /// BatchNorms use the running statistics.
    #[arg(long, value_name = LAYERS)]
    pub freeze: Option<Frozen>,
    /// Shortens the gradient of a step where it is longer: the norm of all parameters' gradients together [default: never].
    #[arg(long, value_name = "NORM", value_parser = above_zero::<f32>)]
    pub clip_grad: Option<f32>,
    /// Learning rate of all layers but the last (fc), in units of --lr.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = above_zero::<f32>)]
    pub lr_scale_backbone: f32,
    /// Learning rate of biases and BatchNorms, in units of the others'.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = above_zero::<f32>)]
    pub bias_lr_scale: f32,
}

/// How long the steps are.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Schedule")]
pub struct Rate {
    /// Learning rate; the highest one where a schedule changes it.
    #[arg(long, default_value_t = 0.05, value_parser = above_zero::<f32>, group = ON_RESUME)]
    pub lr: f32,
    /// What the learning rate does after the warm-up. constant: it stays. step, multistep: it is multiplied by --lr-gamma
    /// after the epochs of --lr-epochs. linear, cosine: it falls to --lr-final over all epochs. one-cycle: it rises from a
    /// 25th of --lr in the first 30 % of all steps, or those of --warmup, and falls to --lr-final, along cosines.
    #[arg(long, value_enum, default_value = "constant")]
    pub schedule: ScheduleName,
    /// Steps in which the learning rate first rises to --lr, by the same amount in each.
    #[arg(long, value_name = "STEPS", default_value_t = 0, value_parser = STEPS_OR_NONE.parser::<u64>())]
    pub warmup: u64,
    /// Learning rate at the end of linear, cosine and one-cycle.
    #[arg(long, value_name = "LR", default_value_t = 0.0, value_parser = finite_from_zero, group = ON_RESUME)]
    pub lr_final: f32,
    /// With step N: the learning rate falls after every N epochs. With multistep 5,8 and so on: after these.
    #[arg(long, value_name = SHAPE, value_parser = epochs)]
    pub lr_epochs: Option<Counts>,
    /// What step and multistep multiply the learning rate by.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1, value_parser = above_zero::<f32>)]
    pub lr_gamma: f32,
}

/// The course of a run.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct Run {
    /// Passes over the training images.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = EPOCHS.parser::<usize>(), group = ON_RESUME)]
    pub epochs: usize,
    /// Stops after so much time, such as 90s, 30m, 2h or 1h30m, as Ctrl-C does but with exit code 0 [default: never]. Each
    /// start of the program counts anew.
    #[arg(long, value_name = "TIME", group = ON_RESUME)]
    pub max_time: Option<TimeSpan>,
    /// Ends the run after N epochs without a better accuracy on the validation images, or without --val-split on the test
    /// images [default: never].
    #[arg(long, value_name = "N", value_parser = EPOCHS.parser::<usize>(), group = ON_RESUME)]
    pub patience: Option<usize>,
    /// Name of the run, whose folder is runs/NAME [default: the date, the network and a word, such as
    /// 2026-11-26-resnet18-amber].
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    pub name: Option<String>,
    /// Folder of the run in another place than runs; it must not hold anything yet.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Steps between checkpoints within an epoch [default: every ten minutes]. Every epoch ends with one.
    #[arg(long, value_name = "STEPS", value_parser = STEPS.parser::<usize>(), group = ON_RESUME)]
    pub save_every: Option<usize>,
    /// Writes event files for TensorBoard too, into the folder tensorboard of the run.
    #[arg(long, group = ON_RESUME)]
    pub tensorboard: bool,
    /// Checkpoints to keep, the newest ones; the best is kept besides.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = STEPS.parser::<usize>(), group = ON_RESUME)]
    pub keep: usize,
}

/// What the seed decides.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct Random {
    /// Random seed: initial weights, order of examples, mirroring; below 2^63.
    #[arg(long, default_value_t = 0, value_parser = SEED.parser::<u64>())]
    pub seed: u64,
    /// Turns shuffling off: examples come in the order of the file.
    #[arg(long = "no-shuffle", action = ArgAction::SetFalse)]
    pub shuffle: bool,
}
