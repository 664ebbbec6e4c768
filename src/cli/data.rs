//! `resnet data`: what a data set holds: its kind, classes, images, and what was left out of it and why.
use super::images;
use crate::config::{self, Augment, Data, Given, Model, Pictures, Preprocessing, Random, Usage};
use crate::data::{self, Allowed, Found, ImageSource, Request, Split};
use crate::files;
use crate::process::{self, Output, one_line};
use crate::report::samples;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet data photos                        a folder of pictures: classes, counts, what is left out and why
  resnet data photos --preview sheet.png    and a sheet with ten images of every class
  resnet data photos --augmented sheet.png --shift 4 --flip   and what training images become by chance
  resnet data photos --labels classes.csv   pictures whose classes a table tells
  resnet data --json                        Fashion-MNIST, as JSON";

/// Names of one kind that are printed at most.
const MOST_NAMED: usize = 20;

/// Arguments of `resnet data`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// The data set, as --data names it.
    #[arg(value_name = "DIR", conflicts_with = "data")]
    place: Option<String>,
    #[command(flatten)]
    settings: Given<Settings>,
    /// Draws ten training images of every class into this PNG file.
    #[arg(long, value_name = "FILE")]
    preview: Option<PathBuf>,
    /// Draws into this PNG file the first training image of every class, and what the augmentation makes of it in nine epochs.
    #[arg(long, value_name = "FILE")]
    augmented: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What decides which images there are.
#[derive(clap::Args)]
struct Settings {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    augment: Augment,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    preprocessing: Preprocessing,
    #[command(flatten)]
    random: Random,
}

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    kind: &'static str,
    /// Side of the images that are kept, in pixels.
    size: usize,
    channels: usize,
    classes: Vec<Class<'a>>,
    /// Images to evaluate on that are training images too.
    shared: usize,
    /// What the files were, of a set of pictures.
    found: Option<&'a Found>,
    /// What was left out, as systems leave it in folders.
    hidden: BTreeMap<&'a str, usize>,
    /// What else was left out, and why.
    skipped: Vec<&'a [String; 2]>,
    notes: &'a [String],
    /// Why it cannot be trained on, if it cannot.
    refusal: Option<String>,
}

#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    train: usize,
    validation: usize,
    test: usize,
}

/// Looks at the data set and prints.
///
/// # Errors
/// When there is none; and in the end, when it cannot be trained on.
pub fn run(args: Args) -> Result<()> {
    for (flag, file) in [
        ("--preview", &args.preview),
        ("--augmented", &args.augmented),
    ] {
        if let Some(file) = file {
            files::check_replaceable(file).context(flag)?;
        }
    }
    if args.preview.is_some() && args.preview == args.augmented {
        return Err(Usage::error(
            "--augmented: --preview draws another sheet into this file; name another one",
        ));
    }
    let mut resolved = config::resolve(args.settings.layers())?;
    if let Some(place) = args.place {
        if place.trim().is_empty() {
            return Err(Usage::error("DIR must not be empty"));
        }
        resolved.config.data.data = Some(place);
    }
    let config = &resolved.config;
    config.augment.check(config.model.image_size)?;
    let augmentation = config.augment.by(config.random.seed);
    if args.augmented.is_some() && augmentation.is_none() {
        return Err(Usage::error(
            "--augmented shows what augmentation does, but there is none: add --flip, --flip-alternating, --shift N, \
             --rotate DEGREES, --erase PROBABILITY or --cutout N",
        ));
    }
    let preprocess = config.preprocessing.preprocess(config.model.image_size);
    let wanted = images::wanted(config, preprocess.clone(), None);
    let request = images::request(config);
    let all = Request {
        allowed: Allowed {
            broken: Some(usize::MAX),
            any: true,
            ..request.allowed
        },
        ..request
    };
    let data = images::open(&resolved, &wanted, all)?;
    let refused = data::check(&*data, request.allowed);
    let mut out = process::output();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report(&*data, &refused))?)?,
        false => print(&mut out, &report(&*data, &refused))?,
    }
    if let Some(file) = &args.preview {
        files::replace(file, &samples::png(&*data)?)?;
        if !args.json {
            writeln!(
                out,
                "\n{} shows ten images of every class, in this order",
                one_line(file)
            )?;
        }
    }
    if let (Some(file), Some(augmentation)) = (&args.augmented, augmentation) {
        files::replace(
            file,
            &samples::augmented(&*data, &preprocess, augmentation)?,
        )?;
        if !args.json {
            writeln!(
                out,
                "\n{} shows an image of every class and what it becomes in nine epochs",
                one_line(file)
            )?;
        }
    }
    out.flush()?;
    refused
}

fn report<'a>(data: &'a dyn ImageSource, refused: &Result<()>) -> Report<'a> {
    let info = data.info();
    let classes = info.classes.iter().zip(data::counts(data));
    let found = info.found.as_ref();
    Report {
        name: &info.name,
        kind: info.kind.words(),
        size: info.size,
        channels: info.channels,
        classes: classes
            .map(|(name, [train, validation, test])| Class {
                name,
                train,
                validation,
                test,
            })
            .collect(),
        shared: data::shared(data),
        found,
        hidden: found
            .iter()
            .flat_map(|found| &found.hidden)
            .map(|(name, count)| (name.as_str(), *count))
            .collect(),
        skipped: found.iter().flat_map(|found| &found.skipped).collect(),
        notes: &info.notes,
        refusal: refused.as_ref().err().map(|error| format!("{error:#}")),
    }
}

fn print(out: &mut Output, report: &Report) -> Result<()> {
    writeln!(out, "{}: {}", report.name, report.kind)?;
    if let Some(found) = report.found {
        let formats = found
            .formats
            .iter()
            .map(|(format, count)| format!("{count} {format}"));
        let formats: Vec<String> = formats.collect();
        let [[w, h], [wide, high]] = [found.smallest, found.largest];
        writeln!(
            out,
            "pictures  {}, from {w}×{h} to {wide}×{high} pixels",
            formats.join(", ")
        )?;
    }
    let colours = match report.channels {
        1 => "grey".to_string(),
        3 => "colour".to_string(),
        channels => format!("{channels} channels"),
    };
    write!(out, "images    {}×{}, {colours}", report.size, report.size)?;
    match report.found {
        Some(found) => writeln!(out, ", kept in {}", one_line(&found.cache))?,
        None => writeln!(out)?,
    }
    let width = report
        .classes
        .iter()
        .map(|class| class.name.chars().count());
    let width = width.max().unwrap_or(0).max("class".len());
    let mut all = [0; 3];
    writeln!(
        out,
        "\n{:width$} {:>8} {:>11} {:>8}",
        "class", "train", "validation", "test"
    )?;
    for class in &report.classes {
        let counts = [class.train, class.validation, class.test];
        all.iter_mut()
            .zip(counts)
            .for_each(|(all, count)| *all += count);
        row(out, class.name, width, counts)?;
    }
    row(out, "all", width, all)?;
    for note in report.notes {
        writeln!(out, "\n{note}")?;
    }
    if report.shared > 0 {
        writeln!(
            out,
            "\n{} of the {} and {} images are training images too, level by level",
            report.shared,
            Split::Validation.name(),
            Split::Test.name()
        )?;
    }
    let hidden: usize = report.hidden.values().sum();
    if hidden > 0 {
        let names = report
            .hidden
            .iter()
            .map(|(name, count)| format!("{name} ({count})"));
        writeln!(
            out,
            "\nignored   {hidden} files and folders that systems leave: {}",
            first(names)
        )?;
    }
    let Some(found) = report.found else {
        return Ok(());
    };
    if !found.others.is_empty() {
        let names = found.others.iter().cloned();
        writeln!(
            out,
            "\nignored   {} files that are no pictures: {}",
            found.others.len(),
            first(names)
        )?;
    }
    for (what, list) in [
        ("left out", report.skipped.clone()),
        ("broken", found.broken.iter().collect()),
    ] {
        if !list.is_empty() {
            writeln!(out, "\n{what}: {}", list.len())?;
        }
        for [path, why] in list {
            writeln!(out, "  {path}: {why}")?;
        }
    }
    Ok(())
}

fn row(
    out: &mut Output,
    name: &str,
    width: usize,
    [train, validation, test]: [usize; 3],
) -> Result<()> {
    Ok(writeln!(
        out,
        "{name:width$} {train:>8} {validation:>11} {test:>8}"
    )?)
}

/// The first of some names.
fn first(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let shown = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
