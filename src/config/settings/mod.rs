//! Every setting, declared once: its field, type, default, range, help and whether a resumed run may change it. The
//! flag, the `RESNET_…` variable, the key of a file and the row in `docs/settings.md` follow from it.
mod augment;
mod data;
mod hardware;
mod network;
mod on_resume;
mod optim;
mod run;

pub use augment::Augment;
pub use data::{Batch, Channels, Data, FeedName, Feeding, Limit, Pictures, Training};
pub use hardware::{Hardware, Precision};
pub use network::{Begin, Model, Network, Preprocessing};
pub use on_resume::ON_RESUME;
pub use optim::{ClassWeights, Optim, OptimizerName, Rate, ScheduleName};
pub use run::{Random, Run};

use crate::ops::tuning::TuningTable;
use serde::Serialize;

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
