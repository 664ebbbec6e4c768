//! What a training begins with: its settings, images and network brought together, shared by the commands that train.
use super::{data, init, network};
use crate::config::{Begin, Resolved, TrainConfig};
use crate::data::ImageSource;
use crate::model::Arch;
use crate::train::{Start, checkpoint};
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
    let data = data::load(&resolved)?;
    let (arch, network, preprocessing, image_size) = match &start {
        Start::Weights(weights) | Start::Body(weights) => {
            let (arch, network) = network::of_weights(weights, &resolved)?;
            let new_head = matches!(start, Start::Body(_));
            let fitted = init::for_data(weights, &arch, &data.info, new_head)?;
            let preprocessing = init::preprocessing(weights, &arch, &resolved)?;
            let image_size = init::image_size(weights, &resolved)?;
            (fitted, network, preprocessing, image_size)
        }
        Start::Resume(_) | Start::Fresh => {
            let (arch, network) = network::chosen(&resolved.config.network, &data.info)?;
            let config = &resolved.config;
            let preprocessing = config.preprocessing.clone();
            (arch, network, preprocessing, config.model.image_size)
        }
    };
    let mut config = resolved.config;
    config.preprocessing = preprocessing;
    config.model.image_size = image_size;
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
        data: Arc::new(data),
        start,
    })
}
