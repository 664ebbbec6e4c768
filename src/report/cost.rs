//! What it costs to tell of a step, measured for `resnet bench`.
use super::console::Console;
use super::keepers::keepers;
use super::lines::Origin;
use super::tui;
use crate::config::TrainConfig;
use crate::data::ImageSource;
use crate::train::{Event, Progress, StepResult};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Instant;

/// Steps that are told.
const STEPS: u64 = 1000;

/// Seconds that everyone who takes note of a step of a run on these images takes for it: the files of a run, those for
/// TensorBoard too, the lines for people, and what the live view shows.
///
/// # Errors
/// When nothing can be written into the folder of temporary files.
pub fn seconds_per_step(data: &Arc<dyn ImageSource>) -> Result<f64> {
    let folder = tempfile::tempdir().context("a folder for what is kept of a run")?;
    let mut config = TrainConfig::default();
    config.run.tensorboard = true;
    let mut all = keepers(Origin::default(), Arc::clone(data));
    all.push(Box::<Console>::default());
    let mut view = tui::Model::new(data.info().classes.clone(), Instant::now());
    let mut tell = |event: Event| -> Result<()> {
        view.event(&event, Instant::now());
        all.iter_mut().try_for_each(|observer| observer.on(&event))
    };
    let mut progress = Progress::default();
    tell(Event::Started {
        folder: folder.path(),
        config: &config,
        progress: &progress,
    })?;
    let result = StepResult {
        loss: 1.25,
        correct: 3,
    };
    let started = Instant::now();
    for step in 1..=STEPS {
        progress.step = step;
        progress.batch += 1;
        progress.sums.add(result, 16);
        tell(Event::Step {
            progress: &progress,
            result,
            lr: 0.05,
        })?;
    }
    Ok(started.elapsed().as_secs_f64() / STEPS as f64)
}
