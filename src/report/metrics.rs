//! `metrics.csv` in the run's folder: one row per finished epoch.
use super::EpochResult;
use crate::files::replace;
use anyhow::{Context, Result};
use std::path::Path;

/// Writes the whole history, so that the file always agrees with the newest checkpoint, also after
/// a run was resumed from an older one.
///
/// # Errors
/// When the disk fails.
pub fn write_metrics(run: &Path, history: &[EpochResult]) -> Result<()> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for epoch in history {
        csv.serialize(epoch)?;
    }
    let bytes = csv.into_inner().context("formatting metrics.csv")?;
    replace(&run.join("metrics.csv"), &bytes)
}
