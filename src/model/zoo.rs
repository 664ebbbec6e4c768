//! The networks that have a name; the default is what every command takes.
use super::{Arch, Block, Stage};

/// Which depth: how many blocks of which kind and width.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Name {
    /// Two basic blocks in each of four stages (He et al. 2015, table 1).
    #[default]
    Resnet18,
}

/// Whose reading of the paper: what they leave out of the convolutions and shortcuts, or add to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Variant {
    /// d2l.ai's in section 7.6: biased convolutions, and 1×1 shortcuts without BatchNorm. ResNet-18 has 11,178,378
    /// parameters with 1 channel and 10 classes.
    #[default]
    D2l,
}

/// A network for images of `in_channels` and so many classes.
pub fn arch(name: Name, variant: Variant, in_channels: usize, classes: usize) -> Arch {
    let (block, blocks) = match name {
        Name::Resnet18 => (Block::Basic, [2; 4]),
    };
    let (conv_bias, shortcut_bn) = match variant {
        Variant::D2l => (true, false),
    };
    let stages = blocks.into_iter().zip([64, 128, 256, 512]);
    Arch {
        in_channels,
        classes,
        stem: 64,
        stages: stages
            .map(|(blocks, width)| Stage { blocks, width })
            .collect(),
        block,
        conv_bias,
        shortcut_bn,
    }
}
