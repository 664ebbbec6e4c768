//! What `--schedule` says.
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What the learning rate does after the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleName {
    /// It stays.
    #[default]
    Constant,
    /// It falls to zero along half a cosine wave (<https://arxiv.org/abs/1608.03983>).
    Cosine,
}
