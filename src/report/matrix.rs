//! `confusion.csv` and `confusion.svg` in the run's folder: the answers of its newest evaluation.
use super::confusion::Confusion;
use super::picture::head;
use super::tally::{Gather, Tally};
use crate::data::Split;
use crate::files::replace;
use crate::train::{Event, Observer};
use anyhow::{Context, Result};
use minijinja::HtmlEscape;
use std::fmt::Write;
use std::path::Path;

/// The table.
pub const TABLE: &str = "confusion.csv";
/// The picture.
pub const PICTURE: &str = "confusion.svg";

/// Side of a cell in pixels, where numbers are in it and where there are too many classes for that.
const CELL: (f64, f64) = (46.0, 6.0);
/// Most classes whose numbers are shown, and most whose names are.
const MOST: (usize, usize) = (24, 48);

/// Keeps the files.
pub struct Matrix(Gather);

impl Matrix {
    /// Of a run that tells these classes apart.
    pub fn new(classes: Vec<String>) -> Matrix {
        Matrix(Gather::new(classes))
    }
}

impl Observer for Matrix {
    fn on(&mut self, event: &Event) -> Result<()> {
        self.0.event(event);
        match (event, self.0.tally()) {
            (
                Event::Evaluated {
                    folder, progress, ..
                },
                Some(tally),
            ) => write(folder, tally, &after_epoch(progress.epoch)),
            (
                Event::Finished {
                    folder, progress, ..
                },
                Some(tally),
            ) => {
                let best = progress.best().filter(|best| best.val_acc.is_some());
                let chosen = best.filter(|_| tally.split == Split::Test);
                let epoch = chosen.map_or(progress.epoch, |best| best.epoch);
                write(folder, tally, &after_epoch(epoch))
            }
            _ => Ok(()),
        }
    }
}

/// When an evaluation was made.
pub fn after_epoch(epoch: usize) -> String {
    format!("after epoch {epoch}")
}

/// What is said above a matrix.
pub fn title(tally: &Tally, when: &str) -> String {
    format!(
        "{} {} images {when}: accuracy {:.4}",
        tally.examples(),
        tally.split.name(),
        tally.accuracy()
    )
}

/// Writes both into a run's folder; the answers are those of that time.
///
/// # Errors
/// When the disk fails.
pub fn write(run: &Path, tally: &Tally, when: &str) -> Result<()> {
    replace(&run.join(TABLE), &csv(&tally.confusion)?)?;
    let picture = svg(&tally.confusion, &title(tally, when));
    replace(&run.join(PICTURE), picture.as_bytes())
}

/// A row for each true class, a column for each that was answered.
fn csv(confusion: &Confusion) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let corner = "true class".to_string();
    csv.write_record([&corner].into_iter().chain(confusion.classes()))?;
    for (class, row) in confusion.classes().iter().zip(confusion.counts()) {
        let counts = row.iter().map(u64::to_string);
        csv.write_record([class.clone()].into_iter().chain(counts))?;
    }
    csv.into_inner().context("formatting the confusion matrix")
}

/// The matrix as a picture: the fuller the colour, the larger the share of the row.
pub fn svg(confusion: &Confusion, title: &str) -> String {
    let (classes, counts) = (confusion.classes(), confusion.counts());
    let count = classes.len();
    let cell = if count <= MOST.0 { CELL.0 } else { CELL.1 };
    let names = count <= MOST.1;
    let longest = classes.iter().map(|name| name.chars().count()).max();
    let room = match names {
        true => 24.0 + 7.2 * longest.unwrap_or(0).min(24) as f64,
        false => 24.0,
    };
    // Names above the columns are slanted.
    let (left, top) = (room + 16.0, 56.0 + if names { 0.75 * room } else { 0.0 });
    let width = (left + cell * count as f64 + if names { 0.6 * room } else { 16.0 }).max(480.0);
    let height = top + cell * count as f64 + 16.0;
    let mut out = head(width.ceil(), height.ceil());
    let _ = writeln!(
        out,
        "<text x=\"16\" y=\"24\" font-weight=\"600\">{}</text><text x=\"16\" y=\"44\">rows: true class, columns: \
         predicted class</text>",
        HtmlEscape(title)
    );
    for (i, name) in classes.iter().enumerate().filter(|_| names) {
        let (name, middle) = (short(name), (i as f64 + 0.5) * cell);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{2}</text><text transform=\"translate({3:.1} \
             {4:.1})rotate(-45)\">{2}</text>",
            left - 8.0,
            top + middle + 4.5,
            HtmlEscape(&name),
            left + middle,
            top - 8.0
        );
    }
    for (row, of_class) in counts.iter().enumerate() {
        let all: u64 = of_class.iter().sum();
        for (column, &n) in of_class.iter().enumerate().filter(|(_, n)| **n > 0) {
            let share = n as f64 / all as f64;
            // Right answers and mistakes have a colour each.
            let class = if row == column { "k0" } else { "k3" };
            let (x, y) = (left + column as f64 * cell, top + row as f64 * cell);
            let _ = write!(
                out,
                "<rect class=\"{class}\" stroke-opacity=\"0\" fill=\"currentColor\" fill-opacity=\"{:.3}\" \
                 x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell}\" height=\"{cell}\"/>",
                opacity(share)
            );
            if count <= MOST.0 {
                let _ = write!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{n}</text>",
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.5
                );
            }
            out.push('\n');
        }
    }
    let _ = writeln!(
        out,
        "<rect class=\"faint\" fill=\"none\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{0:.1}\" height=\"{0:.1}\"/>",
        cell * count as f64
    );
    out + "</svg>\n"
}

/// How full the colour of a cell is that has this share of its row.
pub fn opacity(share: f64) -> f64 {
    0.06 + 0.94 * share.sqrt() * 0.6
}

/// A name that leaves room for the matrix.
fn short(name: &str) -> String {
    match name.chars().count() > 24 {
        true => name.chars().take(23).chain(['…']).collect(),
        false => name.to_string(),
    }
}
