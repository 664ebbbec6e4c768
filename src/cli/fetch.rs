//! `resnet fetch`: downloads Fashion-MNIST into the cache, and shows what is in a data set.
use crate::config::{self, Given, Resolved};
use crate::data::fetch::{self, MIRROR};
use crate::data::{self, Dataset};
use crate::process;
use anyhow::{Context, Result};
use image::{GrayImage, Luma};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  resnet fetch                         into the user's cache, where `train` looks
  resnet fetch --preview images.png    a sheet with ten images of every class";

/// Images of each class on the sheet.
const PER_CLASS: usize = 10;

/// Pixels between the images of the sheet.
const GAP: usize = 2;

/// Arguments of `resnet fetch`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES, mut_arg("data", |data| data.requires("preview")))]
pub struct Args {
    /// Base URL of a mirror that has the four files.
    #[arg(long, default_value = MIRROR)]
    url: String,
    /// Folder to put the files into [default: the user's cache].
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Writes a sheet of images as PNG, from what --data names, and downloads nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "into"])]
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
    let folder = match args.into {
        Some(folder) => folder,
        None => data::cache_folder()?,
    };
    let bar = match process::shows_progress() {
        true => ProgressBar::no_length(),
        false => ProgressBar::hidden(),
    };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}");
    bar.set_style(style.context("the progress bar")?);
    fetch::fetch(&args.url, &folder, |name, done, all| {
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
        "Fashion-MNIST is in {}",
        folder.display()
    )?;
    Ok(())
}

fn preview(settings: &Resolved, file: &Path) -> Result<()> {
    crate::files::check_replaceable(file).context("--preview")?;
    let data = super::data::load(settings)?;
    let sheet = sheet(&data);
    let mut png = Cursor::new(Vec::new());
    sheet
        .write_to(&mut png, image::ImageFormat::Png)
        .context("encoding the sheet")?;
    crate::files::replace(file, png.get_ref())?;
    writeln!(
        process::output(),
        "{} shows from top to bottom: {}",
        file.display(),
        data.info.classes.join(", ")
    )?;
    Ok(())
}

/// A row of training images for every class.
fn sheet(data: &Dataset) -> GrayImage {
    let (size, classes) = (data.info.size, data.info.classes.len());
    let cell = size + GAP;
    let side = |cells: usize| (cells * cell + GAP) as u32;
    let mut sheet = GrayImage::from_pixel(side(PER_CLASS), side(classes), Luma([255]));
    let mut drawn = vec![0; classes];
    let images = data.train.pixels.chunks_exact(size * size);
    for (image, &label) in images.zip(&data.train.labels) {
        let (row, column) = (label as usize, drawn[label as usize]);
        if column == PER_CLASS {
            continue;
        }
        drawn[row] += 1;
        for (i, &grey) in image.iter().enumerate() {
            let x = GAP + column * cell + i % size;
            let y = GAP + row * cell + i / size;
            sheet.put_pixel(x as u32, y as u32, Luma([grey]));
        }
    }
    sheet
}
