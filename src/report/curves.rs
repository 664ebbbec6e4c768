//! `curves.svg` in the run's folder: loss and accuracies over epochs, as in the book's chapter.
use super::chart::{Chart, Dash, Series, svg};
use crate::files::{self, replace};
use crate::train::{EpochResult, Event, Observer};
use anyhow::Result;
use std::path::Path;

/// The file.
pub const CURVES: &str = "curves.svg";

/// Keeps the file.
pub struct Curves;

impl Observer for Curves {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event.history() {
            Some((folder, history)) => write(folder, history),
            None => Ok(()),
        }
    }
}

/// Draws the curves of a run into its folder.
///
/// # Errors
/// When the disk fails.
pub fn write(run: &Path, history: &[EpochResult]) -> Result<()> {
    let text = svg(&[of_run(history)]);
    let path = run.join(CURVES);
    match files::read(&path, text.len() as u64) {
        Ok(there) if there == text.as_bytes() => Ok(()),
        _ => replace(&path, text.as_bytes()),
    }
}

/// The curves of one run in one chart.
pub fn of_run(history: &[EpochResult]) -> Chart {
    let all = [
        line("train loss", 0, Dash::Solid, history, |e| {
            Some(e.train_loss)
        }),
        line("train acc", 1, Dash::Dashed, history, |e| Some(e.train_acc)),
        line("val acc", 2, Dash::Dotted, history, |e| e.val_acc),
        line("test acc", 2, Dash::Dotted, history, |e| e.test_acc),
    ];
    Chart {
        x: "epoch".to_string(),
        series: all.into_iter().flatten().collect(),
        ..Chart::default()
    }
}

/// A line of what each epoch has; `None` where none of them has it.
pub fn line(
    label: &str,
    colour: usize,
    dash: Dash,
    history: &[EpochResult],
    value: impl Fn(&EpochResult) -> Option<f64>,
) -> Option<Series> {
    let point = |epoch: &EpochResult| Some((epoch.epoch as f64, value(epoch)?));
    let points: Vec<(f64, f64)> = history.iter().filter_map(point).collect();
    (!points.is_empty()).then(|| Series {
        label: label.to_string(),
        points,
        colour,
        dash,
    })
}
