//! The ResNet family as data: what distinguishes one network from another, and nothing executed.
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A residual network: a stem, stages of blocks, global pooling, a linear head.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arch {
    /// Channels of the images.
    pub in_channels: usize,
    /// Outputs of the linear layer.
    pub classes: usize,
    /// Output channels of the first convolution.
    pub stem: usize,
    /// What comes before the stages. Files do not say it where it is [`Stem::Imagenet`], which was once the only one.
    #[serde(default, skip_serializing_if = "Stem::is_imagenet")]
    pub stem_kind: Stem,
    /// Stages from the finest to the coarsest; every stage but the first halves height and width.
    pub stages: Vec<Stage>,
    /// What the stages are made of.
    pub block: Block,
    /// Whether convolutions add a bias.
    pub conv_bias: bool,
    /// Whether a projecting shortcut ends in a BatchNorm.
    pub shortcut_bn: bool,
}

/// The most blocks of all stages together.
pub const MOST_BLOCKS: usize = 1024;

/// The most channels, stages and classes, and values of all weights. The largest networks that people publish have a
/// quarter of them at most.
const MOST_CHANNELS: usize = 1 << 14;
const MOST_STAGES: usize = 12;
const MOST_CLASSES: usize = 1 << 16;
const MOST_VALUES: u64 = 1 << 28;

impl Arch {
    /// Refuses a network of no or of too many channels, blocks, classes or weights, so that no product of its sizes
    /// wraps and nothing is planned that no device holds.
    ///
    /// # Errors
    /// Naming the number that is out of range.
    pub fn check(&self) -> Result<()> {
        let within = |what: &str, number: usize, most: usize| {
            ensure!(
                (1..=most).contains(&number),
                "a network of {number} {what}: they must be from 1 to {most}"
            );
            Ok(())
        };
        within("input channels", self.in_channels, MOST_CHANNELS)?;
        within("channels after the stem", self.stem, MOST_CHANNELS)?;
        within("classes", self.classes, MOST_CLASSES)?;
        within("stages", self.stages.len(), MOST_STAGES)?;
        let mut blocks = 0;
        for stage in &self.stages {
            within("channels in a stage", stage.width, MOST_CHANNELS)?;
            within("blocks in a stage", stage.blocks, MOST_BLOCKS)?;
            blocks += stage.blocks;
        }
        within("blocks", blocks, MOST_BLOCKS)?;
        let values = self.values();
        ensure!(
            values <= MOST_VALUES,
            "a network of {values} weights: they must be at most {MOST_VALUES}"
        );
        Ok(())
    }

    /// The weights of its convolutions and its linear layer; every factor was checked.
    pub(super) fn values(&self) -> u64 {
        let product = |taps: u64, from: usize, to: usize| taps * from as u64 * to as u64;
        let kernel = self.stem_kind.kernel() as u64;
        let mut values = product(kernel * kernel, self.in_channels, self.stem);
        let mut channels = self.stem;
        for (stage, &Stage { blocks, width }) in self.stages.iter().enumerate() {
            let out = width * self.block.expansion();
            if stage > 0 || channels != out {
                values += product(1, channels, out);
            }
            for _ in 0..blocks {
                values += match self.block {
                    Block::Basic | Block::PreActBasic => {
                        product(9, channels, width) + product(9, width, width)
                    }
                    Block::Bottleneck | Block::PreActBottleneck => {
                        product(1, channels, width)
                            + product(9, width, width)
                            + product(1, width, out)
                    }
                };
                channels = out;
            }
        }
        values + product(1, channels, self.classes)
    }

    /// Refuses images that are a single pixel before all halvings are done, so that the rest would see borders only.
    /// Where the network may still be `chosen`, one that halves less is advised too.
    ///
    /// # Errors
    /// Naming the size and the smallest that is not refused.
    pub fn check_image(&self, size: usize, chosen: bool) -> Result<()> {
        let halvings = self.halvings();
        let smallest = match halvings {
            0 => 1,
            _ => (1 << (halvings - 1)) + 1,
        };
        let advice = match self.stem_kind {
            Stem::Imagenet if chosen => ", or --stem cifar, which halves them twice less",
            _ => "",
        };
        ensure!(
            size >= smallest,
            "--image-size {size}: images of {size}×{size} are too small for this network, which halves them {halvings} \
             times; take {smallest} at least{advice}"
        );
        Ok(())
    }

    /// Side of the last stage's images, of images of `size`×`size`.
    pub fn last_side(&self, size: usize) -> usize {
        (0..self.halvings()).fold(size, |side, _| side.div_ceil(2))
    }

    /// How often height and width are halved; an odd side is halved upwards.
    fn halvings(&self) -> usize {
        let of_stem = match self.stem_kind {
            Stem::Imagenet => 2,
            Stem::Cifar => 0,
        };
        of_stem + self.stages.len().saturating_sub(1)
    }

    /// Whether any shortcut changes the shape of what it carries.
    pub fn projects(&self) -> bool {
        let widens = |stage: &Stage| stage.width * self.block.expansion() != self.stem;
        self.stages.len() > 1 || self.stages.first().is_some_and(widens)
    }
}

/// What comes before the stages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// A 7×7 convolution of stride 2 and a 3×3 max-pool of stride 2 (He et al. 2015, table 1).
    #[default]
    Imagenet,
    /// A 3×3 convolution of stride 1 (section 4.2).
    Cifar,
}

impl Stem {
    /// Side of the first convolution's window.
    pub fn kernel(self) -> usize {
        match self {
            Stem::Imagenet => 7,
            Stem::Cifar => 3,
        }
    }

    fn is_imagenet(&self) -> bool {
        *self == Stem::Imagenet
    }
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
    /// BatchNorm and ReLU before each of two 3×3 convolutions (He et al. 2016, "Identity mappings", figure 4e).
    PreActBasic,
    /// The same before each convolution of a bottleneck.
    PreActBottleneck,
}

impl fmt::Display for Arch {
    /// In a few words, such as `basic blocks 2,2,2,2 of width 64,128,256,512, 1 channel(s), 10 classes`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |of: fn(&Stage) -> usize| {
            let numbers: Vec<String> = self.stages.iter().map(|s| of(s).to_string()).collect();
            numbers.join(",")
        };
        let block = match self.block {
            Block::Basic => "basic",
            Block::Bottleneck => "bottleneck",
            Block::PreActBasic => "pre-activation basic",
            Block::PreActBottleneck => "pre-activation bottleneck",
        };
        write!(
            f,
            "{block} blocks {} of width {}, {} channel(s), {} classes",
            list(|stage| stage.blocks),
            list(|stage| stage.width),
            self.in_channels,
            self.classes
        )?;
        if self.stem_kind == Stem::Cifar {
            write!(f, ", 3×3 stem")?;
        }
        if !self.conv_bias {
            write!(f, ", no biases")?;
        }
        if self.shortcut_bn {
            write!(f, ", BatchNorm on shortcuts")?;
        }
        Ok(())
    }
}

impl Block {
    /// Output channels per unit of width.
    pub fn expansion(self) -> usize {
        match self {
            Block::Basic | Block::PreActBasic => 1,
            Block::Bottleneck | Block::PreActBottleneck => 4,
        }
    }

    /// Whether BatchNorm and ReLU come before the convolutions, and the sum is left as it is.
    pub fn is_pre_activation(self) -> bool {
        matches!(self, Block::PreActBasic | Block::PreActBottleneck)
    }

    /// The layer that ends the branch beside the shortcut. Where all its parameters are zero, so is the branch, and a
    /// block that does not project is the identity (of what is not negative, where a ReLU follows the sum).
    pub fn last_layer(self) -> &'static str {
        match self {
            Block::Basic => "bn2",
            Block::Bottleneck => "bn3",
            Block::PreActBasic => "conv2",
            Block::PreActBottleneck => "conv3",
        }
    }
}
