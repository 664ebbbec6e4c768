//! What a training begins with: its settings, images and network brought together, shared by the commands that train.
use super::{images, init, network};
use crate::config::{Begin, Channels, Levels, Resolved, TrainConfig};
use crate::data::{self, ImageSource};
use crate::model::Arch;
use crate::process;
use crate::train::Start;
use crate::train::checkpoint::{self, WeightsFile};
use anyhow::{Context, Result};
use std::sync::Arc;

/// All that a trainer takes.
pub struct Beginning {
    pub config: TrainConfig,
    pub arch: Arch,
    pub data: Arc<dyn ImageSource>,
    pub start: Start,
}

/// What --init and --new-head say.
///
/// # Errors
/// When there are no such weights.
pub fn start(begin: &Begin) -> Result<Start> {
    let Some(path) = &begin.init else {
        return Ok(Start::Fresh);
    };
    let weights = checkpoint::weights_of(path)?;
    Ok(match begin.new_head {
        true => Start::Body(weights),
        false => Start::Weights(weights),
    })
}

/// Loads the images and finds the network: that of the weights, or the one that the settings choose.
///
/// # Errors
/// When a setting, the data or the weights cannot be used.
pub fn with(resolved: Resolved, start: Start) -> Result<Beginning> {
    resolved.config.check_training()?;
    let mut config = resolved.config.clone();
    let of_weights = match &start {
        Start::Weights(weights) | Start::Body(weights) => {
            let file = WeightsFile::read(weights)?;
            let (arch, network) = network::of_weights(&file, &resolved)?;
            config.preprocessing = init::preprocessing(&file, &arch, &resolved)?;
            config.model.image_size = init::image_size(&file, &resolved)?;
            let told = file.told()?;
            let fit = told.as_ref().and_then(|info| info.preprocess.fit);
            config.pictures.fit = images::fit_of(fit, &resolved);
            Some((weights, arch, network, told))
        }
        Start::Resume(_) | Start::Fresh => None,
    };
    let preprocess = config.preprocessing.preprocess(config.model.image_size);
    let channels = of_weights.as_ref().map(|(_, arch, ..)| arch.in_channels);
    let wanted = images::wanted(&config, preprocess, channels);
    let mut data = images::load(&resolved, &wanted)?;
    if let (Start::Resume(run), true) = (&start, images::is_of_pictures(&*data)) {
        // The classes keep their places although folders may have come or gone. What is wrong with the run is told later.
        let weights = WeightsFile::find(run).ok();
        if let Some(told) = weights.and_then(|weights| weights.told().ok()?) {
            data = data::by_name(data, &told.classes)?;
        }
    }
    let (arch, network) = match of_weights {
        Some((weights, arch, network, told)) => {
            let new_head = matches!(start, Start::Body(_));
            if let Some(told) = told.filter(|_| !new_head && images::is_of_pictures(&*data)) {
                // Where it knows them all, a class keeps its place in the last layer.
                let known = |class: &String| data::place(class, &told.classes).is_some();
                if data.info().classes.iter().all(known) {
                    data = data::by_name(data, &told.classes)?;
                }
            }
            (
                init::for_data(weights, &arch, data.info(), new_head)?,
                network,
            )
        }
        None => network::chosen(&resolved.config.network, data.info())?,
    };
    if let (Start::Fresh, None, None, Some([mean, std])) = (
        &start,
        &config.preprocessing.mean,
        &config.preprocessing.std,
        data.info().usual.clone(),
    ) {
        let (mean, std) = (Levels(mean), Levels(std));
        process::say(format_args!(
            "images are normalised as is usual for {}: mean {mean}, standard deviation {std}",
            data.info().name
        ));
        config.preprocessing.mean = Some(mean);
        config.preprocessing.std = Some(std);
    }
    // The pictures, or the weights, have decided it; a resumed run keeps it.
    if let (true, Some(channels)) = (
        images::is_of_pictures(&*data),
        Channels::of(data.info().channels),
    ) {
        config.pictures.channels = channels;
    }
    config.locate_data()?;
    if let Start::Weights(weights) | Start::Body(weights) = &start {
        // The run whose newest weights these are may go on, and this one be made again from another place.
        let absolute = std::path::absolute(weights).context("the weights of --init")?;
        config.begin.init = Some(absolute);
    }
    config.network = network;
    Ok(Beginning {
        config,
        arch,
        data,
        start,
    })
}
