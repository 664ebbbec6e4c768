//! What a training takes over from the weights that it begins with, beside their values.
use crate::config::{Levels, Preprocessing, Resolved};
use crate::data::{Info, Preprocess};
use crate::model::Arch;
use crate::process::{self, one_line};
use crate::train::checkpoint::WeightsFile;
use anyhow::{Result, ensure};
use std::path::Path;

/// Channels and classes of networks that were trained on ImageNet.
pub const IMAGENET: (usize, usize) = (3, 1000);

/// The network of a file of weights for these data: the same, or one with other classes where its linear layer is new.
///
/// # Errors
/// When the data have other channels, or other classes and the linear layer is not new; both numbers are named.
pub fn for_data(weights: &Path, arch: &Arch, data: &Info, new_head: bool) -> Result<Arch> {
    let (shown, name) = (one_line(weights), &data.name);
    ensure!(
        arch.in_channels == data.channels,
        "{shown} takes images of {} channel(s), but {name} has {}: take weights for {} channel(s), or name other data \
         by --data",
        arch.in_channels,
        data.channels,
        data.channels
    );
    let classes = data.classes.len();
    ensure!(
        new_head || arch.classes == classes,
        "{shown} tells {} classes apart, but {name} has {classes}: add --new-head to begin with a new last layer for \
         them and take the rest of the weights",
        arch.classes
    );
    Ok(Arch {
        classes,
        ..arch.clone()
    })
}

/// The side of the images that a training takes: that of the file's images, unless a setting says it.
///
/// # Errors
/// When the file cannot be read.
pub fn image_size(weights: &WeightsFile, settings: &Resolved) -> Result<usize> {
    let size = settings.config.model.image_size;
    let told = weights.told()?.map(|info| info.preprocess.size);
    match told.filter(|_| !settings.sources.contains_key("image_size")) {
        Some(told) if told != size => {
            process::say(format_args!(
                "images are resized to {told}×{told}, as for {}",
                one_line(weights.path())
            ));
            Ok(told)
        }
        _ => Ok(size),
    }
}

/// How images are prepared for weights: cut and normalised as they were before, unless a setting says how.
///
/// # Errors
/// When the file cannot be read.
pub fn preprocessing(
    weights: &WeightsFile,
    arch: &Arch,
    settings: &Resolved,
) -> Result<Preprocessing> {
    let mut preprocessing = settings.config.preprocessing.clone();
    let before = match weights.told()? {
        Some(info) => info.preprocess,
        None if (arch.in_channels, arch.classes) == IMAGENET => Preprocess::imagenet(),
        None => return Ok(preprocessing),
    };
    let is_given = |key: &str| settings.sources.contains_key(key);
    if !is_given("resize") && !is_given("image_size") && weights.told()?.is_some() {
        preprocessing.resize = before.resize;
    }
    if is_given("mean") || is_given("std") || before.std.is_empty() {
        return Ok(preprocessing);
    }
    let (mean, std) = (Levels(before.mean), Levels(before.std));
    process::say(format_args!(
        "images are normalised as for {}: mean {mean}, standard deviation {std}",
        one_line(weights.path())
    ));
    preprocessing.mean = Some(mean);
    preprocessing.std = Some(std);
    Ok(preprocessing)
}
