//! The settings of what is trained on, and in which portions.
use super::on_resume::ON_RESUME;
use crate::config::MicroBatch;
use crate::config::range::{BATCH, FILES, STEPS, named};
use crate::config::val_split::ValSplit;
use crate::data::Fit;
use serde::Serialize;
use std::path::PathBuf;

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
