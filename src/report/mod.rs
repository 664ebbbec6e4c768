//! What a run tells: progress for people, lines for programs, metrics and tables for later. Each observer of a
//! run has a file of its own and a line in [`observers`].
pub mod answers;
mod calibration;
mod canvas;
mod chart;
mod columns;
pub mod compare;
mod confusion;
mod console;
mod cost;
mod curves;
mod details;
mod events;
mod json;
mod keepers;
mod lines;
mod log;
pub mod lr_curve;
mod matrix;
mod metrics;
mod pace;
mod page;
mod past;
mod phases;
mod picture;
mod predictions;
pub mod samples;
pub mod sheet;
mod spark;
mod summary;
mod tally;
mod tensorboard;
mod tui;

pub use calibration::Calibration;
pub use columns::columns;
pub use confusion::{Confusion, OfClass};
pub use console::Console;
pub use cost::seconds_per_step;
pub use json::failed;
pub use lines::Origin;
pub use matrix::after_epoch;
pub use page::{PAGE, write_pages};
pub use past::{Past, State, runs_in};
pub use predictions::Predictions;
pub use tally::Tally;
pub use tui::{Interrupt, refused_view, restore_terminal};

use crate::data::ImageSource;
use crate::train::Observer;
use std::sync::Arc;

/// Everyone who is told of a run of `resnet train` on these images; with `json` its results on stdout are for programs.
/// With `view` there is a live view, in which Ctrl-C does that.
pub fn observers(
    json: bool,
    view: Option<Interrupt>,
    origin: Origin,
    data: Arc<dyn ImageSource>,
) -> Vec<Box<dyn Observer>> {
    let results: Box<dyn Observer> = match json {
        true => Box::new(json::JsonLines::new(origin.clone())),
        false => Box::new(summary::Summary),
    };
    let mut all: Vec<Box<dyn Observer>> = Vec::new();
    if let Some(interrupt) = view {
        // First, so that the terminal is free for what the others say at the end.
        let classes = data.info().classes.clone();
        all.push(Box::new(tui::Tui::new(classes, interrupt)));
    }
    // Before those whose messages it keeps.
    all.push(Box::new(log::Log));
    all.extend(keepers::keepers(origin, data));
    all.push(Box::<console::Console>::default());
    all.push(Box::<details::Details>::default());
    all.push(results);
    all
}
