//! Which network a file of weights is of that does not tell it: by the names and shapes of its tensors.
use super::{Arch, Block, Stage, Stem, describe};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// The tensors of a file: PyTorch's dimensions by PyTorch's names.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Images of this side fit every network; the shapes of its parameters do not depend on it.
const SIDE: usize = 32;

/// The network that has exactly these tensors. The counters of BatchNorm (`num_batches_tracked`) may be there or not.
///
/// Names and shapes tell all of an [`Arch`] but for one thing that makes no difference: whether shortcuts have BatchNorms
/// where there is none that projects. They do not tell the images' size, nor what the images were normalised by.
///
/// # Errors
/// When there is none: the first tensor that is missing, left over or of a wrong shape is named.
pub fn recognise(shapes: &Shapes) -> Result<Arch> {
    let arch = guess(shapes)?;
    let (_, network) = describe(&arch, 1, SIDE).context("the network cannot be built")?;
    let params = network.params;
    for param in &params {
        let (name, wanted) = (&param.name, param.torch_shape());
        let found = shapes
            .get(name)
            .with_context(|| format!("there is no {name}"))?;
        ensure!(
            *found == wanted,
            "{name} is {found:?}, but the other tensors need {wanted:?}"
        );
    }
    let known: BTreeSet<&str> = params.iter().map(|param| param.name.as_str()).collect();
    let is_known = |name: &str| known.contains(name) || name.ends_with(".num_batches_tracked");
    match shapes.keys().find(|name| !is_known(name)) {
        Some(stranger) => bail!("{stranger:?} belongs to no network of this program"),
        None => Ok(arch),
    }
}

/// The same of tensors that may lack the linear layer: it is taken to be ImageNet's, for which nearly all such files were
/// trained.
///
/// # Errors
/// As [`recognise`].
pub fn recognise_body(shapes: &Shapes) -> Result<Arch> {
    if !lacks_head(shapes) {
        return recognise(shapes);
    }
    let mut whole = shapes.clone();
    whole.insert(HEAD[0].to_string(), vec![IMAGENETS, channels(shapes)?]);
    whole.insert(HEAD[1].to_string(), vec![IMAGENETS]);
    recognise(&whole)
}

/// Whether there is nothing of a linear layer, as timm leaves it out with `num_classes=0`.
fn lacks_head(shapes: &Shapes) -> bool {
    !HEAD.iter().any(|name| shapes.contains_key(*name))
}

/// Channels that the linear layer gets: those that a block of the last stage returns.
fn channels(shapes: &Shapes) -> Result<usize> {
    let stages = (1..).take_while(|stage| any(shapes, &format!("layer{stage}.")));
    let last = format!("layer{}.0.", stages.last().context("there is no layer1")?);
    let mut convolutions = shapes
        .iter()
        .filter(|(name, _)| name.starts_with(&format!("{last}conv")) && name.ends_with(".weight"));
    // In the order of their numbers.
    let of_last = convolutions
        .next_back()
        .and_then(|(_, shape)| shape.first().copied());
    of_last.with_context(|| format!("there is no {last}conv1.weight"))
}

/// The linear layer's tensors.
const HEAD: [&str; 2] = ["fc.weight", "fc.bias"];

/// Classes of ImageNet.
const IMAGENETS: usize = 1000;

/// The network that a few of the tensors speak of.
fn guess(shapes: &Shapes) -> Result<Arch> {
    let [stem, in_channels, kernel, _] = dimensions::<4>(shapes, "conv1.weight")?;
    let stem_kind = match kernel == Stem::Cifar.kernel() {
        true => Stem::Cifar,
        false => Stem::Imagenet,
    };
    let [classes, _] = dimensions::<2>(shapes, "fc.weight")?;
    let has = |name: &str| shapes.contains_key(name);
    let block = match (has("layer1.0.conv3.weight"), has("bn_last.weight")) {
        (true, true) => Block::PreActBottleneck,
        (true, false) => Block::Bottleneck,
        (false, true) => Block::PreActBasic,
        (false, false) => Block::Basic,
    };
    let mut stages = Vec::new();
    while any(shapes, &format!("layer{}.", stages.len() + 1)) {
        let stage = format!("layer{}", stages.len() + 1);
        let [width, ..] = dimensions::<4>(shapes, &format!("{stage}.0.conv1.weight"))?;
        let blocks = (0..)
            .take_while(|i| any(shapes, &format!("{stage}.{i}.")))
            .count();
        stages.push(Stage { blocks, width });
    }
    ensure!(!stages.is_empty(), "there is no layer1");
    Ok(Arch {
        in_channels,
        classes,
        stem,
        stem_kind,
        stages,
        block,
        conv_bias: has("conv1.bias"),
        shortcut_bn: shapes
            .keys()
            .any(|name| name.ends_with(".downsample.1.weight")),
    })
}

/// The dimensions of a tensor that every network has, none of them zero.
fn dimensions<const N: usize>(shapes: &Shapes, name: &str) -> Result<[usize; N]> {
    let shape = shapes.get(name).with_context(|| {
        // Blocks have layers of the same names.
        let prefixed = shapes
            .keys()
            .find(|other| other.ends_with(&format!(".{name}")) && !other.contains("layer"));
        let deep = name == "conv1.weight" && shapes.contains_key("conv1.0.weight");
        match prefixed.filter(|_| !name.starts_with("layer")) {
            _ if deep => {
                "its stem has several convolutions, as timm's networks …d and …s, but `resnet` makes stems of one"
                    .to_string()
            }
            Some(other) => format!(
                "there is no {name}, but {other:?}: save the network itself, not what wraps it"
            ),
            None => format!("there is no {name}"),
        }
    })?;
    let dimensions = <[usize; N]>::try_from(shape.as_slice()).ok();
    dimensions
        .filter(|dimensions| !dimensions.contains(&0))
        .with_context(|| format!("{name} is {shape:?}: it must have {N} dimensions above 0"))
}

/// Whether a name begins so.
fn any(shapes: &Shapes, prefix: &str) -> bool {
    let from = shapes.range(prefix.to_string()..).next();
    from.is_some_and(|(name, _)| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::zoo;
    use clap::ValueEnum;

    fn shapes(arch: &Arch) -> Shapes {
        let (_, network) = describe(arch, 1, SIDE).unwrap();
        let params = network.params.iter();
        params
            .map(|param| (param.name.clone(), param.torch_shape()))
            .collect()
    }

    /// The chapter's network, and one of every kind of block with and without biases and BatchNorms of shortcuts.
    fn all() -> Vec<Arch> {
        let chapters = zoo::Choice::default().arch(1, 10).unwrap();
        let mut all = vec![chapters];
        for block in [
            Block::Basic,
            Block::Bottleneck,
            Block::PreActBasic,
            Block::PreActBottleneck,
        ] {
            for (conv_bias, shortcut_bn) in
                [(true, false), (false, true), (true, true), (false, false)]
            {
                let stages =
                    [(1, 4), (3, 6), (1, 4)].map(|(blocks, width)| Stage { blocks, width });
                all.push(Arch {
                    in_channels: 3,
                    classes: 7,
                    stem: 5,
                    stem_kind: if conv_bias {
                        Stem::Imagenet
                    } else {
                        Stem::Cifar
                    },
                    stages: stages.to_vec(),
                    block,
                    conv_bias,
                    shortcut_bn,
                });
            }
        }
        all
    }

    /// Every network with a name, in every variant, with activations before and after, with both stems.
    fn named() -> Vec<Arch> {
        let mut all = Vec::new();
        for &name in zoo::Name::value_variants() {
            for &variant in zoo::Variant::value_variants() {
                for (preact, stem) in [(false, None), (true, Some(Stem::Cifar)), (true, None)] {
                    let choice = zoo::Choice {
                        name,
                        variant: Some(variant),
                        preact,
                        stem,
                        ..Default::default()
                    };
                    all.push(choice.arch(3, 1000).unwrap());
                }
            }
        }
        all
    }

    #[test]
    fn every_network_is_recognised() {
        let mut deep = all().pop().unwrap();
        deep.stages[1].blocks = 12;
        let mut one_stage = all()[1].clone();
        one_stage.stages.truncate(1);
        for arch in all().into_iter().chain([deep, one_stage]).chain(named()) {
            let mut shapes = shapes(&arch);
            assert_eq!(recognise(&shapes).unwrap(), arch);
            shapes.insert("bn1.num_batches_tracked".to_string(), vec![]);
            assert_eq!(recognise(&shapes).unwrap(), arch);
        }
    }

    #[test]
    fn a_network_without_its_linear_layer_is_recognised_for_a_new_one() {
        for arch in all().into_iter().chain(named()) {
            let mut body = shapes(&arch);
            assert_eq!(recognise_body(&body).unwrap(), arch);
            body.retain(|name, _| !name.starts_with("fc."));
            let classes = 1000;
            assert_eq!(recognise_body(&body).unwrap(), Arch { classes, ..arch });
            assert!(recognise(&body).is_err());
            body.remove("layer1.0.conv1.weight");
            assert!(recognise_body(&body).is_err());
        }
        let mut half = shapes(&all()[0]);
        half.remove("fc.weight");
        assert!(recognise_body(&half).is_err());
    }

    #[test]
    fn a_network_that_lacks_or_has_one_tensor_too_many_is_refused() {
        for arch in all().into_iter().skip(1) {
            let whole = shapes(&arch);
            for name in whole.keys() {
                let mut less = whole.clone();
                less.remove(name);
                assert!(recognise(&less).is_err(), "{arch:?} without {name}");
                for wrong in [vec![], vec![0], vec![3; 4], vec![0; 4], vec![9, 9]] {
                    let mut other = whole.clone();
                    other.insert(name.clone(), wrong.clone());
                    assert!(recognise(&other).is_err(), "{arch:?} with {name} {wrong:?}");
                }
            }
            for name in [
                "layer9.0.conv1.weight",
                "layer1.99.conv1.weight",
                "x\u{1b}[0m",
                "conv1.weight2",
            ] {
                let mut more = whole.clone();
                more.insert(name.to_string(), vec![4]);
                let said = format!("{:#}", recognise(&more).unwrap_err());
                assert!(!said.contains('\u{1b}'), "{said}");
                assert!(name.contains('\u{1b}') || said.contains(name), "{said}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_tensor() {
        let whole = shapes(&all()[0]);
        let said = |change: &dyn Fn(&mut Shapes)| {
            let mut shapes = whole.clone();
            change(&mut shapes);
            format!("{:#}", recognise(&shapes).unwrap_err())
        };
        let without = |name: &str| {
            said(&|shapes| {
                shapes.remove(name);
            })
        };
        assert_eq!(
            without("layer3.1.bn2.bias"),
            "there is no layer3.1.bn2.bias"
        );
        assert_eq!(without("fc.weight"), "there is no fc.weight");
        let wrapped = said(&|shapes| {
            let old = std::mem::take(shapes).into_iter();
            *shapes = old
                .map(|(name, shape)| (format!("module.{name}"), shape))
                .collect();
        });
        assert!(wrapped.contains("\"module.conv1.weight\""), "{wrapped}");
        let shape = said(&|shapes| {
            shapes.insert("layer2.0.bn1.weight".to_string(), vec![127]);
        });
        assert_eq!(
            shape,
            "layer2.0.bn1.weight is [127], but the other tensors need [128]"
        );
        assert_eq!(said(&|shapes| shapes.clear()), "there is no conv1.weight");
        assert_eq!(without("conv1.weight"), "there is no conv1.weight");
        let deep = said(&|shapes| {
            let stem = shapes.remove("conv1.weight").unwrap_or_default();
            shapes.insert("conv1.0.weight".to_string(), stem);
        });
        assert!(deep.contains("several convolutions"), "{deep}");
    }
}
