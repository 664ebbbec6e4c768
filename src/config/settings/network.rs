//! The settings of the network and of what it is given.
use crate::config::Usage;
use crate::config::counts::{Counts, SHAPE, blocks};
use crate::config::levels::{CHANNELS, Levels, deviations, means};
use crate::config::range::IMAGE_SIZE;
use crate::data::Preprocess;
use crate::model::Stem;
use crate::model::zoo::{Choice, Name, Variant};
use anyhow::Result;
use serde::Serialize;
use std::path::PathBuf;

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
