//! `report.html` in the run's folder: all that there is to see of a run in one file, which needs no network.
mod facts;

use super::chart::svg;
use super::confusion::OfClass;
use super::curves::{self, of_run};
use super::matrix;
use super::past::Past;
use super::picture::palette;
use super::tally::{Gather, Tally};
use crate::data::{ImageSource, Split};
use crate::files::replace;
use crate::train::{Event, Observer};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// The file.
pub const PAGE: &str = "report.html";

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const UPLOT: &str = include_str!("uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("uplot/uPlot.min.css");
const UPLOT_LICENCE: &str = include_str!("uplot/LICENSE");

/// Writes the file at the end of a run.
pub struct Page {
    data: Arc<dyn ImageSource>,
    gather: Gather,
}

impl Page {
    /// Of a run on these images.
    pub fn new(data: Arc<dyn ImageSource>) -> Page {
        let gather = Gather::new(data.info().classes.clone());
        Page { data, gather }
    }
}

impl Observer for Page {
    fn on(&mut self, event: &Event) -> Result<()> {
        self.gather.event(event);
        if let (
            Event::Finished {
                folder, progress, ..
            },
            Some(tally),
        ) = (event, self.gather.tally())
        {
            let best = progress.best().filter(|best| best.val_acc.is_some());
            let chosen = best.filter(|_| tally.split == Split::Test);
            let epoch = chosen.map_or(progress.epoch, |best| best.epoch);
            return write(folder, tally, &matrix::after_epoch(epoch), &*self.data);
        }
        Ok(())
    }
}

/// Draws a run's curves and its confusion matrix, and writes the page. The answers are those of the test images at that
/// time.
///
/// # Errors
/// When the run's files are damaged, an image cannot be read, or the disk fails.
pub fn write_pages(run: &Path, tally: &Tally, when: &str, data: &dyn ImageSource) -> Result<()> {
    let past = Past::read(run)?;
    if !past.history.is_empty() {
        curves::write(run, &past.history)?;
    }
    matrix::write(run, tally, when)?;
    write(run, tally, when, data)
}

/// A wrong answer as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    picture: String,
    example: u32,
    label: &'a str,
    predicted: &'a str,
    of_label: String,
    of_predicted: String,
}

/// A class as it is shown.
#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    images: u64,
    recall: String,
    precision: String,
    /// The class that it is taken for most often, and how often.
    mistaken: String,
}

fn write(run: &Path, tally: &Tally, when: &str, data: &dyn ImageSource) -> Result<()> {
    let past = Past::read(run)?;
    let classes = tally.confusion.classes();
    let mut mistakes = Vec::new();
    for mistake in &tally.mistakes {
        mistakes.push(Shown {
            picture: picture(data, tally, mistake.example)?,
            example: mistake.example,
            label: &classes[mistake.label],
            predicted: &classes[mistake.predicted],
            of_label: share(mistake.of_label),
            of_predicted: share(mistake.of_predicted),
        });
    }
    let has_curves = !past.history.is_empty();
    let curves = has_curves.then(|| markup(svg(&[of_run(&past.history)])));
    let drawn = serde_json::to_string(&facts::curves(&past))?;
    let page = context! {
        name => past.name(),
        style => markup(format!("{}{STYLE}{UPLOT_STYLE}", palette(":root"))),
        uplot => markup(format!("/*\n{UPLOT_LICENCE}*/\n{UPLOT}")),
        script => markup(SCRIPT),
        // Nothing in it can end the script.
        drawn => markup(drawn.replace('<', "\\u003c")),
        curves,
        matrix => markup(matrix::svg(&tally.confusion, &matrix::title(tally, when))),
        summary => Serde(facts::summary(&past, tally, when)),
        chosen => facts::chosen(&past, data.len(Split::Test) > 0),
        classes => Serde(of_classes(tally)),
        mistakes => Serde(mistakes),
        wrong => facts::wrong(tally),
        settings => Serde(facts::settings(&past)),
        origin => Serde(facts::origin(&past, data)),
        again => facts::again(&past)?,
        tuned => !past.config.tilings.is_empty(),
        phases => Serde(facts::phases(&past)),
        processes => past.starts().count(),
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let html = environment
        .render_str(TEMPLATE, page)
        .context("filling in the report's template")?;
    replace(&run.join(PAGE), html.as_bytes())
}

/// Text that is markup already.
fn markup(text: impl Into<String>) -> Value {
    Value::from_safe_string(text.into())
}

/// An image of the data set, in the page itself.
fn picture(data: &dyn ImageSource, tally: &Tally, example: u32) -> Result<String> {
    let info = data.info();
    let mut levels = vec![0; info.image_bytes()];
    data.read(tally.split, &[example], &mut levels)?;
    let colour = match info.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        // The first channel of what has no colours.
        channels => {
            levels = levels.iter().step_by(channels).copied().collect();
            ExtendedColorType::L8
        }
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&levels, info.size as u32, info.size as u32, colour)
        .context("encoding an image of the report")?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

fn of_classes(tally: &Tally) -> Vec<Class<'_>> {
    let (names, counts) = (tally.confusion.classes(), tally.confusion.counts());
    let shown = |part: Option<f64>| part.map_or("–".to_string(), share);
    let class = |(class, known): (usize, OfClass)| {
        let row = &counts[class];
        let others = (0..names.len()).filter(|&other| other != class);
        // The first of equals.
        let most = others.rev().max_by_key(|&other| row[other]);
        let most = most.filter(|&other| row[other] > 0);
        Class {
            name: &names[class],
            images: known.images,
            recall: shown(known.recall),
            precision: shown(known.precision),
            mistaken: most.map_or(String::new(), |other| {
                format!("{} ({})", names[other], row[other])
            }),
        }
    };
    let known = tally.confusion.per_class().into_iter();
    known.enumerate().map(class).collect()
}

/// A share in percent, with as many digits as tell it from none and from all.
fn share(share: f64) -> String {
    match share {
        share if share > 0.0 && share < 0.0005 => format!("{:.1e}\u{a0}%", 100.0 * share),
        share => format!("{:.1}\u{a0}%", 100.0 * share),
    }
}
