//! A trained network: where its weights are and how it is run, shared by the commands that take one.
use super::init::IMAGENET;
use super::{hardware, images};
use crate::config::{self, Layer, Preprocessing, Resolved, Source, Usage};
use crate::data::{ImageSource, Info, Preprocess, listed};
use crate::model;
use crate::process::{self, command, one_line, quoted};
use crate::train::checkpoint::{Average, WeightsFile};
use crate::train::{Session, SessionSpec, StepPlans, WeightsInfo, folder};
use anyhow::{Result, anyhow};
use std::path::Path;
use std::sync::Arc;

/// A file of weights with what is known about it.
pub struct Checkpoint {
    /// The file.
    pub weights: WeightsFile,
    /// What it tells about itself.
    pub info: WeightsInfo,
    /// How it is run.
    pub settings: Resolved,
    /// The moving average of the weights, where it is run in their place.
    pub average: Option<Average>,
}

impl Checkpoint {
    /// Finds the weights in a run's folder, one of its checkpoints or a file, and how to run them: as their run was, if
    /// they are in one, but for what is `given`. Weights that do not tell their network are recognised. Nothing is put on
    /// a device.
    ///
    /// # Errors
    /// When the checkpoint cannot be read or two settings contradict each other.
    pub fn read(path: &Path, given: &[Layer]) -> Result<Checkpoint> {
        let weights = WeightsFile::find(path)?;
        let told = weights.told()?;
        let mut layers: Vec<Layer> = Vec::new();
        if let Some(run) = folder::run_of(path)? {
            layers.push(folder::settings(&run)?.without_device());
        }
        layers.extend_from_slice(given);
        let settings = config::resolve(&layers)?;
        let info = match told {
            Some(info) => told_by_flags_too(info, &settings)?,
            None => recognised(&weights, &settings)?,
        };
        Ok(Checkpoint {
            weights,
            info,
            settings,
            average: None,
        })
    }

    /// Refuses data that are not what the network takes or tells apart.
    ///
    /// # Errors
    /// When the number of classes or of channels differs; what may be done then is said.
    pub fn check_data(&self, data: &Info) -> Result<()> {
        let (weights, config) = (self.weights.path(), &self.settings.config.data);
        let checked = self.info.check_data(&one_line(weights), data);
        let trained = match data.channels == self.info.arch.in_channels {
            true => {
                let named = |data: &String| format!(" --data {}", quoted(Path::new(data)));
                format!(
                    ", or train a new last layer for these: {} {}{} --new-head",
                    command("train --init"),
                    quoted(weights),
                    config.data.as_ref().map_or(String::new(), named)
                )
            }
            false => String::new(),
        };
        checked.map_err(|why| {
            anyhow!("{why}: name the data that it was trained on by --data DIR{trained}")
        })
    }

    /// The same, or with the moving average of the weights in their place.
    ///
    /// # Errors
    /// When there is no such average.
    pub fn averaged(self, ema: bool) -> Result<Checkpoint> {
        let average = ema.then(|| Average::of(&self.weights)).transpose()?;
        Ok(Checkpoint { average, ..self })
    }

    /// Puts the network on the device, ready to evaluate the test images of `data`, perhaps in several views.
    ///
    /// # Errors
    /// When the data do not fit the network, or the device is not there, too small or fails.
    pub fn open(&self, data: Arc<dyn ImageSource>, views: bool) -> Result<Session> {
        let Checkpoint {
            weights,
            info,
            settings: Resolved { config, .. },
            average,
        } = self;
        self.check_data(data.info())?;
        // Before anything is planned for a network that the file does not hold.
        let (_, network) = model::describe(&info.arch, 1, info.preprocess.size)?;
        weights.check(&network.params)?;
        let backend = hardware::open(&config.hardware)?;
        let spec = SessionSpec {
            views,
            ..SessionSpec::evaluating(config, info)
        };
        let plans = StepPlans::fitting(
            spec,
            config.feeding.feed,
            config.batch.micro_batch,
            &*data,
            backend.as_ref(),
        )?;
        let mut session = Session::open(plans, data, backend)?;
        weights.load(&mut session)?;
        if let Some(average) = average {
            average.load(&mut session)?;
        }
        Ok(session)
    }
}

/// Says that a run's limit is that of its evaluation too, and how to have all images.
pub fn tell_limit(settings: &Resolved, examples: u64, data: &dyn ImageSource) {
    let split = data.evaluated();
    let images = data.len(split);
    let batch = settings.config.batch.batch_size;
    if let Some(source @ Source::File(_)) = settings.sources.get("limit_batches")
        && examples < images as u64
    {
        process::say(format_args!(
            "limit_batches in {source}: {examples} of {images} {} images; all of them with --limit-batches {}",
            split.name(),
            images.div_ceil(batch)
        ));
    }
}

/// What weights tell about themselves, unless a flag contradicts it.
fn told_by_flags_too(info: WeightsInfo, settings: &Resolved) -> Result<WeightsInfo> {
    let given = prepared(settings);
    let told = &info.preprocess;
    let resize = settings
        .config
        .preprocessing
        .resize
        .unwrap_or(told.resized());
    let contradicted = [
        (
            "image_size",
            given.size != told.size,
            given.size.to_string(),
        ),
        ("resize", resize != told.resized(), resize.to_string()),
        ("mean", given.mean != told.mean, listed(&given.mean)),
        ("std", given.std != told.std, listed(&given.std)),
    ];
    for (key, contradicts, value) in contradicted {
        if let (Some(Source::Flag(flag)), true) = (settings.sources.get(key), contradicts) {
            return Err(Usage::error(format!(
                "{flag} {value}: the weights say that they take {told}; leave it out"
            )));
        }
    }
    Ok(info)
}

/// What the settings say of images.
fn prepared(settings: &Resolved) -> Preprocess {
    let config = &settings.config;
    config.preprocessing.preprocess(config.model.image_size)
}

/// What is known of weights that tell nothing: the network by its tensors, the rest by the settings, or by what everybody
/// does with such a network.
fn recognised(weights: &WeightsFile, settings: &Resolved) -> Result<WeightsInfo> {
    let arch = weights.recognise()?;
    let (channels, classes) = (arch.in_channels, arch.classes);
    let is_imagenets = (channels, classes) == IMAGENET;
    let preprocess = match is_imagenets {
        true => imagenet(settings),
        false => prepared(settings),
    };
    Preprocessing::check(&preprocess, channels)?;
    let given: Vec<String> = ["image_size", "resize", "mean", "std"]
        .iter()
        .filter_map(|key| settings.sources.get(*key).map(ToString::to_string))
        .collect();
    let source = match (is_imagenets, given.is_empty()) {
        (true, true) => "torchvision's preprocessing for ImageNet; --resize, --image-size, --mean and --std say otherwise"
            .to_string(),
        (true, false) => format!("{}, and torchvision's preprocessing for ImageNet", given.join(", ")),
        (false, true) => "the default of --image-size".to_string(),
        (false, false) => given.join(", "),
    };
    let named_by_data = (channels, classes) == CHAPTERS;
    let names = match named_by_data {
        true => "classes of the data set",
        false => "classes by their numbers",
    };
    process::say(format_args!(
        "{} is recognised by its tensors: {arch}; {preprocess} ({source}), {names}",
        one_line(weights.path())
    ));
    let classes = match named_by_data {
        true => {
            let wanted = images::wanted(&settings.config, preprocess.clone(), Some(channels));
            let data = images::open(settings, &wanted, images::request(&settings.config))?;
            data.info().classes.clone()
        }
        false => (0..classes).map(|class| format!("class {class}")).collect(),
    };
    Ok(WeightsInfo::new(arch, preprocess, classes))
}

/// Channels and classes of networks that were trained on Fashion-MNIST, whose classes then have names.
const CHAPTERS: (usize, usize) = (1, 10);

/// What torchvision does with images for ImageNet, but for what is given. Of images of another size it keeps the same
/// part.
fn imagenet(settings: &Resolved) -> Preprocess {
    let (given, usual) = (prepared(settings), Preprocess::imagenet());
    let is_given = |key: &str| settings.sources.contains_key(key);
    let size = match is_given("image_size") {
        true => given.size,
        false => usual.size,
    };
    let resized = match is_given("resize") {
        true => given.resized(),
        false => usual.resized() * size / usual.size,
    };
    Preprocess {
        size,
        resize: Some(resized).filter(|resized| *resized != size),
        mean: if is_given("mean") {
            given.mean
        } else {
            usual.mean
        },
        std: if is_given("std") {
            given.std
        } else {
            usual.std
        },
        fit: None,
    }
}
