//! The networks that have a name, and what may be chosen of each; the default is the chapter's.
#[cfg(test)]
mod tests;

use super::{Arch, Block, Stage, Stem, describe};
use anyhow::{Result, ensure};
use serde::Serialize;

/// The most stages that may be chosen.
const MOST_STAGES: usize = 6;

/// Images of this side fit every network; the number of its parameters does not depend on it.
const SIDE: usize = 32;

/// Which depth: how many blocks of which kind and width.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Name {
    /// Basic blocks, 2 in each of four stages (He et al. 2015, table 1).
    #[default]
    Resnet18,
    /// Basic blocks 3, 4, 6, 3.
    Resnet34,
    /// Bottlenecks 3, 4, 6, 3.
    Resnet50,
    /// Bottlenecks 3, 4, 23, 3.
    Resnet101,
    /// Bottlenecks 3, 8, 36, 3.
    Resnet152,
    /// For small images: basic blocks, 3 in each of three stages (section 4.2).
    Resnet20,
    /// 5 in each stage.
    Resnet32,
    /// 7 in each stage.
    Resnet44,
    /// 9 in each stage.
    Resnet56,
    /// 18 in each stage.
    Resnet110,
}

/// Whose reading of the paper: what they leave out of the convolutions and shortcuts, or add to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// d2l.ai's in section 7.6: biased convolutions, and 1×1 shortcuts without BatchNorm. ResNet-18 has 11,178,378
    /// parameters with 1 channel and 10 classes.
    D2l,
    /// torchvision's: no biases, and a BatchNorm after a shortcut's convolution. Pre-activation blocks have none there,
    /// as in the paper and in timm, since their BatchNorms come first.
    Torchvision,
}

/// What is chosen of a network; what is `None` follows from the name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// The network to begin from.
    pub name: Name,
    /// The chapter's for 18 and 34 layers, torchvision's for all others.
    pub variant: Option<Variant>,
    /// Whether BatchNorm and ReLU come before each convolution (He et al. 2016).
    pub preact: bool,
    /// What comes before the stages.
    pub stem: Option<Stem>,
    /// The width of each stage; the stem has that of the first.
    pub widths: Option<Vec<usize>>,
    /// The blocks of each stage.
    pub blocks: Option<Vec<usize>>,
}

/// What a name says.
struct Published {
    bottleneck: bool,
    blocks: Vec<usize>,
    widths: Vec<usize>,
    stem: Stem,
    variant: Variant,
}

impl Name {
    fn all() -> &'static [Name] {
        clap::ValueEnum::value_variants()
    }

    /// How many layers with weights are on the longest way through it, of which it has its name.
    pub fn layers(self) -> usize {
        match self {
            Name::Resnet18 => 18,
            Name::Resnet34 => 34,
            Name::Resnet50 => 50,
            Name::Resnet101 => 101,
            Name::Resnet152 => 152,
            Name::Resnet20 => 20,
            Name::Resnet32 => 32,
            Name::Resnet44 => 44,
            Name::Resnet56 => 56,
            Name::Resnet110 => 110,
        }
    }

    fn published(self) -> Published {
        let table_1 = |bottleneck, blocks: [usize; 4], variant| Published {
            bottleneck,
            blocks: blocks.to_vec(),
            widths: vec![64, 128, 256, 512],
            stem: Stem::Imagenet,
            variant,
        };
        match self {
            Name::Resnet18 => table_1(false, [2, 2, 2, 2], Variant::D2l),
            Name::Resnet34 => table_1(false, [3, 4, 6, 3], Variant::D2l),
            Name::Resnet50 => table_1(true, [3, 4, 6, 3], Variant::Torchvision),
            Name::Resnet101 => table_1(true, [3, 4, 23, 3], Variant::Torchvision),
            Name::Resnet152 => table_1(true, [3, 8, 36, 3], Variant::Torchvision),
            Name::Resnet20 | Name::Resnet32 | Name::Resnet44 | Name::Resnet56 | Name::Resnet110 => {
                Published {
                    bottleneck: false,
                    // 6n + 2 layers.
                    blocks: vec![(self.layers() - 2) / 6; 3],
                    widths: vec![16, 32, 64],
                    stem: Stem::Cifar,
                    variant: Variant::Torchvision,
                }
            }
        }
    }
}

impl Choice {
    /// The network for images of `in_channels` and so many classes.
    ///
    /// # Errors
    /// When widths and blocks are not of the same number of stages, or a size is out of range.
    pub fn arch(&self, in_channels: usize, classes: usize) -> Result<Arch> {
        let published = self.name.published();
        let widths = self.widths.as_ref().unwrap_or(&published.widths);
        let blocks = self.blocks.as_ref().unwrap_or(&published.blocks);
        let stages = blocks.len();
        ensure!(
            widths.len() == stages,
            "widths {} and blocks {} must be of the same number of stages: give both, by --widths and --blocks",
            listed(widths),
            listed(blocks)
        );
        ensure!(
            (1..=MOST_STAGES).contains(&stages),
            "blocks {}: a network has from 1 to {MOST_STAGES} stages",
            listed(blocks)
        );
        let stages = blocks.iter().zip(widths);
        let stages = stages.map(|(&blocks, &width)| Stage { blocks, width });
        let variant = self.variant.unwrap_or(published.variant);
        let mut arch = Arch {
            in_channels,
            classes,
            stem: widths[0],
            stem_kind: self.stem.unwrap_or(published.stem),
            stages: stages.collect(),
            block: match (published.bottleneck, self.preact) {
                (false, false) => Block::Basic,
                (true, false) => Block::Bottleneck,
                (false, true) => Block::PreActBasic,
                (true, true) => Block::PreActBottleneck,
            },
            conv_bias: variant == Variant::D2l,
            shortcut_bn: false,
        };
        arch.check()?;
        // Where no shortcut projects there is none, and the network is that of a file whose shapes cannot tell.
        arch.shortcut_bn = variant == Variant::Torchvision && !self.preact && arch.projects();
        Ok(arch)
    }

    /// The choice that gives this network, with everything said that the name alone does not say for all of its
    /// networks; `None` where none gives it.
    pub fn of(arch: &Arch) -> Option<Choice> {
        let bottleneck = arch.block.expansion() > 1;
        let widths: Vec<usize> = arch.stages.iter().map(|stage| stage.width).collect();
        let blocks: Vec<usize> = arch.stages.iter().map(|stage| stage.blocks).collect();
        let likeness = |name: &Name| {
            let published = name.published();
            let same = [published.blocks == blocks, published.widths == widths];
            let alike = same.iter().filter(|same| **same).count();
            // A stem alone makes no likeness.
            alike + usize::from(alike > 0 && published.stem == arch.stem_kind)
        };
        let names = Name::all().iter().rev();
        let of_kind = names.filter(|name| name.published().bottleneck == bottleneck);
        let name = of_kind.copied().max_by_key(likeness)?;
        let published = name.published();
        let choice = Choice {
            name,
            variant: Some(match arch.conv_bias {
                true => Variant::D2l,
                false => Variant::Torchvision,
            }),
            preact: arch.block.is_pre_activation(),
            stem: Some(arch.stem_kind),
            widths: (published.widths != widths).then_some(widths),
            blocks: (published.blocks != blocks).then_some(blocks),
        };
        let given = choice.arch(arch.in_channels, arch.classes).ok()?;
        (given == *arch).then_some(choice)
    }
}

/// A network in a line, such as `ResNet-18 (d2l): basic blocks 2,2,2,2 of width …, 11,178,378 parameters`.
pub fn title(arch: &Arch) -> String {
    let preact = match arch.block.is_pre_activation() {
        true => "pre-activation ",
        false => "",
    };
    let name = match Choice::of(arch) {
        Some(choice) => {
            let own = choice.widths.is_some() || choice.blocks.is_some();
            let variant = match choice.variant {
                Some(Variant::D2l) => "d2l",
                _ => "torchvision",
            };
            match own {
                true => format!("{preact}ResNet ({variant})"),
                false => format!("{preact}ResNet-{} ({variant})", choice.name.layers()),
            }
        }
        None => format!("{preact}ResNet"),
    };
    match parameters(arch) {
        Ok(parameters) => format!("{name}: {arch}, {} parameters", grouped(parameters)),
        Err(_) => format!("{name}: {arch}"),
    }
}

/// The weights and biases of a network, those of BatchNorms included.
///
/// # Errors
/// When a size of the network is out of range.
pub fn parameters(arch: &Arch) -> Result<usize> {
    let (_, network) = describe(arch, 1, SIDE)?;
    Ok(network.layers.iter().map(|layer| layer.params).sum())
}

/// Numbers as a flag takes them.
pub fn listed(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    numbers.join(",")
}

/// A number with a comma after every three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
