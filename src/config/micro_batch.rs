//! What `--micro-batch` says: `auto`, or how many examples a pass of a step takes.
use super::range::MICRO_BATCH;
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::str::FromStr;

/// How a step's batch is cut into passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "Written")]
pub enum MicroBatch {
    /// The whole batch where it fits the device's memory, else the largest part of it that does.
    Auto,
    /// So many examples per pass.
    Examples(usize),
}

/// How a file writes it.
#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    Number(usize),
    Text(String),
}

impl MicroBatch {
    /// The number of examples, unless the device is to decide it.
    pub fn examples(self) -> Option<usize> {
        match self {
            MicroBatch::Auto => None,
            MicroBatch::Examples(examples) => Some(examples),
        }
    }
}

impl FromStr for MicroBatch {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<MicroBatch> {
        if text == "auto" {
            return Ok(MicroBatch::Auto);
        }
        let examples = MICRO_BATCH.parser()(text);
        let examples = examples.map_err(|why| match why.contains("whole number") {
            true => anyhow!("must be `auto` or a number of examples"),
            false => anyhow!(why),
        })?;
        Ok(MicroBatch::Examples(examples))
    }
}

impl From<MicroBatch> for Written {
    fn from(micro_batch: MicroBatch) -> Written {
        match micro_batch {
            MicroBatch::Auto => Written::Text("auto".to_string()),
            MicroBatch::Examples(examples) => Written::Number(examples),
        }
    }
}
