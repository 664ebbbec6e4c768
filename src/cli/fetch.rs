//! `resnet fetch`: downloads a data set that has a name into the cache, and shows what is in one.
use super::images;
use crate::config::{self, Given, Resolved};
use crate::data::{self, FASHION_MNIST, SETS, fetch};
use crate::files;
use crate::process::{self, one_line};
use crate::report::samples;
use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  resnet fetch                         Fashion-MNIST, into the user's cache, where `train` looks
  resnet fetch cifar10                 another set, for `train --data cifar10`
  resnet fetch --preview images.png    a sheet with ten images of every class";

/// The settings of the data set, which only the sheet heeds.
const OF_DATA: [&str; 4] = ["data", "labels", "max_broken", "allow_empty"];

/// Arguments of `resnet fetch`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
#[command(mut_args(|arg| match OF_DATA.contains(&arg.get_id().as_str()) {
    true => arg.requires("preview"),
    false => arg,
}))]
pub struct Args {
    /// Name of the data set.
    #[arg(default_value = FASHION_MNIST.name, value_parser = PossibleValuesParser::new(SETS.map(|set| set.name)))]
    name: String,
    /// Base URL of a mirror that has the files [default: one that is known for the set].
    #[arg(long)]
    url: Option<String>,
    /// Folder to put the files into [default: the user's cache].
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Writes a sheet of images as PNG, from what --data names, and downloads nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "url", "into"])]
    preview: Option<PathBuf>,
    #[command(flatten)]
    settings: Given<config::Data>,
}

/// Downloads, or draws the sheet.
///
/// # Errors
/// When the network, the data or the disk fails.
pub fn run(args: Args) -> Result<()> {
    if let Some(file) = args.preview {
        return preview(&config::resolve(args.settings.layers())?, &file);
    }
    let set = data::set(&args.name).context("one of the names")?;
    let folder = match args.into {
        Some(folder) => folder,
        None => set.cache_folder()?,
    };
    let bar = match process::shows_progress() {
        true => ProgressBar::no_length(),
        false => ProgressBar::hidden(),
    };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}");
    bar.set_style(style.context("the progress bar")?);
    let mirror = args.url.as_deref().unwrap_or(set.mirror);
    fetch::fetch(set, mirror, &folder, |name, done, all| {
        if bar.message() != name {
            bar.set_message(name.to_string());
        }
        if let Some(all) = all {
            bar.set_length(all);
        }
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    writeln!(
        process::output(),
        "{} is in {}",
        set.title,
        one_line(&folder)
    )?;
    Ok(())
}

fn preview(settings: &Resolved, file: &Path) -> Result<()> {
    files::check_replaceable(file).context("--preview")?;
    let config = &settings.config;
    let preprocess = config.preprocessing.preprocess(config.model.image_size);
    let data = images::load(settings, &images::wanted(config, preprocess, None))?;
    files::replace(file, &samples::png(&*data)?)?;
    writeln!(
        process::output(),
        "{} shows from top to bottom: {}",
        one_line(file),
        data.info().classes.join(", ")
    )?;
    Ok(())
}
