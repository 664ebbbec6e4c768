//! A trained network: where its weights are and how it is run, shared by the commands that take one.
use super::hardware;
use crate::config::{self, Layer, Resolved};
use crate::data::ImageSource;
use crate::train::{Session, SessionSpec, StepPlans, WeightsInfo, checkpoint, folder};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of weights with what is known about it.
pub struct Checkpoint {
    /// The file.
    pub weights: PathBuf,
    /// What it tells about itself.
    pub info: WeightsInfo,
    /// How it is run.
    pub settings: Resolved,
}

impl Checkpoint {
    /// Finds the weights in a run's folder, one of its checkpoints or a file, and how to run them: as their run was, if
    /// they are in one, but for what is `given`. Nothing is put on a device.
    ///
    /// # Errors
    /// When the checkpoint cannot be read or two settings contradict each other.
    pub fn read(path: &Path, given: &[Layer]) -> Result<Checkpoint> {
        let weights = checkpoint::weights_of(path)?;
        let info = checkpoint::read_info(&weights)?;
        let mut layers: Vec<Layer> = Vec::new();
        if let Some(run) = folder::run_of(path)? {
            layers.push(folder::settings(&run)?.without_device());
        }
        layers.extend_from_slice(given);
        Ok(Checkpoint {
            weights,
            info,
            settings: config::resolve(&layers)?,
        })
    }

    /// Puts the network on the device, ready to evaluate the test images of `data`.
    ///
    /// # Errors
    /// When the data do not fit the network, or the device is not there, too small or fails.
    pub fn open(&self, data: Arc<dyn ImageSource>) -> Result<Session> {
        let Checkpoint {
            weights,
            info,
            settings: Resolved { config, .. },
        } = self;
        info.check_data(&weights.display().to_string(), data.info())?;
        let backend = hardware::open(&config.hardware)?;
        let spec = SessionSpec::evaluating(config, info);
        let plans = StepPlans::fitting(spec, config.batch.micro_batch, &*data, backend.as_ref())?;
        let mut session = Session::open(plans, data, backend)?;
        checkpoint::load_weights(&mut session, weights)?;
        Ok(session)
    }
}
