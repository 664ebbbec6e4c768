//! `metrics.csv` in the run's folder: one row per finished epoch.
use crate::files::{self, replace};
use crate::train::{Event, Observer};
use anyhow::{Context, Result};

/// Keeps the file.
pub struct Metrics;

impl Observer for Metrics {
    /// Writes the whole history, so that the file always agrees with the newest checkpoint: also after a run was
    /// resumed from an older one, or killed between the two.
    fn on(&mut self, event: &Event) -> Result<()> {
        let Some((folder, history)) = event.history() else {
            return Ok(());
        };
        let mut csv = csv::Writer::from_writer(Vec::new());
        for epoch in history {
            csv.serialize(epoch)?;
        }
        let bytes = csv.into_inner().context("formatting metrics.csv")?;
        let path = folder.join("metrics.csv");
        match files::read(&path, bytes.len() as u64) {
            Ok(there) if there == bytes => Ok(()),
            _ => replace(&path, &bytes),
        }
    }
}
