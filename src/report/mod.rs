//! What a run tells: progress for people, lines for programs, metrics and tables for later. Each observer of a
//! run has a file of its own and a line in [`observers`].
pub mod answers;
mod calibration;
mod confusion;
mod console;
mod details;
mod json;
pub mod lr_curve;
mod metrics;
mod pace;
mod predictions;
pub mod sheet;
mod summary;
mod tensorboard;

pub use calibration::Calibration;
pub use confusion::{Confusion, OfClass};
pub use console::Console;
pub use json::failed;
pub use predictions::Predictions;

use crate::train::Observer;

/// Everyone who is told of a run of `resnet train`; with `json` its results on stdout are for programs.
pub fn observers(json: bool) -> Vec<Box<dyn Observer>> {
    let results: Box<dyn Observer> = match json {
        true => Box::<json::JsonLines>::default(),
        false => Box::new(summary::Summary),
    };
    vec![
        Box::new(metrics::Metrics),
        Box::<console::Console>::default(),
        Box::<details::Details>::default(),
        Box::<tensorboard::TensorBoard>::default(),
        results,
    ]
}
