//! The images that a trained network is evaluated on, shared by the commands that do so.
use super::images;
use super::trained::Checkpoint;
use crate::config::{Source, Usage};
use crate::data::{self, Divided, ImageSource, Split, Wanted};
use crate::process;
use crate::train::divided;
use anyhow::Result;
use std::sync::Arc;

/// What a file of weights wants of pictures.
fn wanted_by(checkpoint: &Checkpoint) -> Wanted {
    let (info, config) = (&checkpoint.info, &checkpoint.settings.config);
    Wanted {
        preprocess: info.preprocess.clone(),
        fit: info.preprocess.fit.unwrap_or(config.pictures.fit),
        channels: Some(info.arch.in_channels),
    }
}

/// Loads the images that a network is to be evaluated on: the test images or, where there are none, the validation images.
/// Those that were held out from a run's training are held out again. Of a folder that a flag names and that has neither,
/// all are taken.
///
/// # Errors
/// As [`images::load`], and when there are pictures of a class that the network does not know.
pub fn to_evaluate(checkpoint: &Checkpoint) -> Result<Arc<dyn ImageSource>> {
    let Checkpoint { settings, info, .. } = checkpoint;
    let mut request = images::request(&settings.config);
    request.allowed.any = true;
    let wanted = wanted_by(checkpoint);
    let mut loaded = images::open(settings, &wanted, request)?;
    loaded.info().notes.iter().for_each(process::say);
    if images::is_of_pictures(&*loaded) {
        loaded = data::by_name(loaded, &info.classes)?;
    }
    if loaded.len(loaded.evaluated()) > 0 {
        return Ok(loaded);
    }
    let of_run = |key: &str| matches!(settings.sources.get(key), None | Some(Source::File(_)));
    let training = &settings.config.training;
    let is_divided = training.val_split.is_some() || training.overfit.is_some();
    match is_divided && of_run("data") && of_run("labels") {
        true => divided(&settings.config, loaded).map_err(Usage::error),
        false => {
            process::say(format_args!(
                "{} has neither test nor validation images: all {} are evaluated",
                loaded.info().name,
                loaded.len(Split::Train)
            ));
            Ok(Arc::new(Divided::all_held_out(loaded)))
        }
    }
}
