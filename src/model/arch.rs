//! The ResNet family as data: what distinguishes one network from another, and nothing executed.
use serde::{Deserialize, Serialize};

/// A residual network: a 7×7/2 stem with a 3×3/2 max-pool, stages of blocks, global pooling, a linear head.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arch {
    /// Channels of the images.
    pub in_channels: usize,
    /// Outputs of the linear layer.
    pub classes: usize,
    /// Output channels of the first convolution.
    pub stem: usize,
    /// Stages from the finest to the coarsest; every stage but the first halves height and width.
    pub stages: Vec<Stage>,
    /// What the stages are made of.
    pub block: Block,
    /// Whether convolutions add a bias.
    pub conv_bias: bool,
    /// Whether a projecting shortcut ends in a BatchNorm.
    pub shortcut_bn: bool,
}

/// Blocks of one width.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Number of blocks.
    pub blocks: usize,
    /// Channels of the block's 3×3 convolutions.
    pub width: usize,
}

/// The kind of residual block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Two 3×3 convolutions (He et al. 2015, figure 5 left).
    Basic,
    /// 1×1, 3×3 with the stride, 1×1 to four times the width (figure 5 right; torchvision's "v1.5").
    Bottleneck,
    /// BatchNorm and ReLU before each of two 3×3 convolutions (He et al. 2016, "Identity mappings").
    PreActBasic,
}

impl Block {
    /// Output channels per unit of width.
    pub fn expansion(self) -> usize {
        match self {
            Block::Basic | Block::PreActBasic => 1,
            Block::Bottleneck => 4,
        }
    }
}
