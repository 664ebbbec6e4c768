//! The images that the settings name, shared by the commands that take some.
use crate::config::{Resolved, Source, TrainConfig, Usage};
use crate::data::{self, Allowed, Fit, ImageSource, Preprocess, Request, Wanted};
use crate::process::{self, one_line};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;

/// What settings want of pictures that are prepared so for a network of so many channels, if that is known.
pub fn wanted(config: &TrainConfig, preprocess: Preprocess, channels: Option<usize>) -> Wanted {
    let pictures = &config.pictures;
    Wanted {
        preprocess,
        fit: pictures.fit,
        channels: pictures.channels.number().or(channels),
    }
}

/// Loads the images to train on and tells what people should know about them.
///
/// # Errors
/// When there is no data, or a file is not what its name says; what named the data is said, unless a flag did.
pub fn load(settings: &Resolved, wanted: &Wanted) -> Result<Arc<dyn ImageSource>> {
    let loaded = open(settings, wanted, request(&settings.config))?;
    loaded.info().notes.iter().for_each(process::say);
    Ok(loaded)
}

/// Whether a data set was made of pictures, whose classes have names that people gave.
pub fn is_of_pictures(data: &dyn ImageSource) -> bool {
    data.info().fit.is_some()
}

/// What the settings ask for.
pub fn request(config: &TrainConfig) -> Request<'_> {
    Request {
        data: config.data.data.as_deref(),
        labels: config.data.labels.as_deref(),
        allowed: Allowed {
            broken: config.data.max_broken,
            empty: config.data.allow_empty,
            any: false,
        },
    }
}

/// Loads images, with a bar while pictures are decoded.
///
/// # Errors
/// As [`load`].
pub fn open(
    settings: &Resolved,
    wanted: &Wanted,
    request: Request,
) -> Result<Arc<dyn ImageSource>> {
    let bar = match process::shows_progress() {
        true => ProgressBar::no_length(),
        false => ProgressBar::hidden(),
    };
    let style = ProgressStyle::with_template("reading pictures {wide_bar} {pos}/{len}  {eta}");
    bar.set_style(style.context("the progress bar")?);
    let mut progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let loaded = data::load(request, wanted, &mut progress);
    bar.finish_and_clear();
    let loaded = match settings.sources.get("data") {
        None | Some(Source::Flag(_)) => loaded,
        Some(source) => loaded.with_context(|| {
            format!(
                "{source} names the data {}",
                one_line(request.data.unwrap_or_default())
            )
        }),
    }?;
    let unheeded = ["channels", "fit", "max_broken", "allow_empty"];
    let flag = unheeded
        .iter()
        .find_map(|key| match settings.sources.get(*key) {
            Some(Source::Flag(flag)) => Some(flag),
            _ => None,
        });
    match flag.filter(|_| !is_of_pictures(&*loaded)) {
        Some(flag) => Err(Usage::error(format!(
            "{flag} is for pictures, but {} has images of one form: leave it out",
            loaded.info().name
        ))),
        None => Ok(loaded),
    }
}

/// How pictures become squares for weights that a training begins with: as before, unless a setting says how.
pub fn fit_of(told: Option<Fit>, settings: &Resolved) -> Fit {
    let given = settings.sources.contains_key("fit");
    told.filter(|_| !given)
        .unwrap_or(settings.config.pictures.fit)
}
