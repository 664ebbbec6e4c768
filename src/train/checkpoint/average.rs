//! The moving average of the weights, which is among the states beside them.
use super::store::{STATE, WEIGHTS};
use super::tensor_file::{parse, read, tensor};
use super::weights::WeightsFile;
use crate::config::Usage;
use crate::process::{command, one_line};
use crate::train::optim::AVERAGE;
use crate::train::session::Session;
use anyhow::Result;
use std::path::PathBuf;

/// A file of states with the moving average of weights, read once.
pub struct Average {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Average {
    /// That of the weights of a checkpoint, from the file beside them.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn of(weights: &WeightsFile) -> Result<Average> {
        let path = weights.path().with_file_name(STATE);
        let none = || {
            Usage::error(format!(
                "{} has no moving average of its weights: `{}` keeps one",
                one_line(weights.path()),
                command("train --ema 0.999")
            ))
        };
        if !weights.path().ends_with(WEIGHTS) || !path.exists() {
            return Err(none());
        }
        let bytes = read(&path)?;
        let names = parse(&path, &bytes)?;
        let is_average = |name: &&str| name.starts_with(AVERAGE);
        match names.names().iter().any(is_average) {
            true => Ok(Average { path, bytes }),
            false => Err(none()),
        }
    }

    /// Overwrites a session's parameters by their averages. What has none, as frozen layers, stays as it is.
    ///
    /// # Errors
    /// When one is of another shape, or the device fails.
    pub fn load(&self, session: &mut Session) -> Result<()> {
        let file = parse(&self.path, &self.bytes)?;
        for param in session.params().to_vec() {
            let name = format!("{AVERAGE}.{}", param.name);
            if file.tensor(&name).is_ok() {
                let values = tensor(&self.path, &file, &name, &param.shape.0)?;
                session.write(param.tensor, &values)?;
            }
        }
        Ok(())
    }
}
