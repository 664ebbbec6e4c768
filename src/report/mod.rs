//! What a run tells: progress for people, lines for programs, metrics and tables for later. Each observer of a
//! run has a file of its own and a line in [`observers`].
pub mod answers;
mod calibration;
mod chart;
mod columns;
pub mod compare;
mod confusion;
mod console;
mod curves;
mod details;
mod events;
mod json;
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
pub mod sheet;
mod spark;
mod summary;
mod tally;
mod tensorboard;

pub use calibration::Calibration;
pub use columns::columns;
pub use confusion::{Confusion, OfClass};
pub use console::Console;
pub use json::failed;
pub use lines::Origin;
pub use matrix::after_epoch;
pub use page::{PAGE, write_pages};
pub use past::{Past, State, runs_in};
pub use predictions::Predictions;
pub use tally::Tally;

use crate::data::ImageSource;
use crate::train::Observer;
use std::sync::Arc;

/// Everyone who is told of a run of `resnet train` on these images; with `json` its results on stdout are for programs.
pub fn observers(json: bool, origin: Origin, data: Arc<dyn ImageSource>) -> Vec<Box<dyn Observer>> {
    let results: Box<dyn Observer> = match json {
        true => Box::new(json::JsonLines::new(origin.clone())),
        false => Box::new(summary::Summary),
    };
    vec![
        // First, so that it has what the others say.
        Box::new(log::Log),
        Box::new(events::Events::new(origin)),
        Box::new(metrics::Metrics),
        Box::new(curves::Curves),
        Box::new(matrix::Matrix::new(data.info().classes.clone())),
        Box::new(page::Page::new(data)),
        Box::<console::Console>::default(),
        Box::<details::Details>::default(),
        Box::<tensorboard::TensorBoard>::default(),
        results,
    ]
}
