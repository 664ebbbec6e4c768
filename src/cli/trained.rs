//! A trained network: where its weights are and how it is run, shared by the commands that take one.
use super::hardware;
use crate::config::{self, Layer, Resolved, Source};
use crate::data::{self, ImageSource, Preprocess};
use crate::model;
use crate::process;
use crate::train::{Session, SessionSpec, StepPlans, WeightsInfo, checkpoint, folder};
use anyhow::{Result, ensure};
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
    /// they are in one, but for what is `given`. Weights that do not tell their network are recognised. Nothing is put on
    /// a device.
    ///
    /// # Errors
    /// When the checkpoint cannot be read or two settings contradict each other.
    pub fn read(path: &Path, given: &[Layer]) -> Result<Checkpoint> {
        let weights = checkpoint::weights_of(path)?;
        let told = checkpoint::told(&weights)?;
        let mut layers: Vec<Layer> = Vec::new();
        if let Some(run) = folder::run_of(path)? {
            layers.push(folder::settings(&run)?.without_device());
        }
        layers.extend_from_slice(given);
        let settings = config::resolve(&layers)?;
        let info = match told {
            Some(info) => size_kept(info, &settings)?,
            None => recognised(&weights, &settings)?,
        };
        Ok(Checkpoint {
            weights,
            info,
            settings,
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
        // Before anything is planned for a network that the file does not hold.
        let (_, network) = model::describe(&info.arch, 1, info.preprocess.size)?;
        checkpoint::check_weights(weights, &network.params)?;
        let backend = hardware::open(&config.hardware)?;
        let spec = SessionSpec::evaluating(config, info);
        let plans = StepPlans::fitting(spec, config.batch.micro_batch, &*data, backend.as_ref())?;
        let mut session = Session::open(plans, data, backend)?;
        checkpoint::load_weights(&mut session, weights)?;
        Ok(session)
    }
}

/// What weights tell about themselves, unless a flag contradicts it.
fn size_kept(info: WeightsInfo, settings: &Resolved) -> Result<WeightsInfo> {
    let (size, given) = (info.preprocess.size, settings.config.model.image_size);
    let by_flag = matches!(settings.sources.get("image_size"), Some(Source::Flag(_)));
    ensure!(
        given == size || !by_flag,
        "--image-size {given}: the weights say that they take images of {size}×{size}; leave it out"
    );
    Ok(info)
}

/// What is known of weights that tell nothing: the network by its tensors, the rest by the settings.
fn recognised(weights: &Path, settings: &Resolved) -> Result<WeightsInfo> {
    let arch = checkpoint::recognise(weights)?;
    let size = settings.config.model.image_size;
    let source = match settings.sources.get("image_size") {
        Some(source) => source.to_string(),
        None => "the default of --image-size".to_string(),
    };
    process::say(format_args!(
        "{} is recognised by its tensors: {arch}; images of {size}×{size} ({source}), classes of the data set",
        weights.display()
    ));
    let classes = data::load(settings.config.data.data.as_deref())?
        .info
        .classes;
    Ok(WeightsInfo::new(arch, Preprocess::of_size(size), classes))
}
