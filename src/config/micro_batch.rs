//! What `--micro-batch` says: `auto`, or how many examples a pass of a step takes.
use anyhow::{Context, Result, ensure};
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
        let examples = text.parse();
        let examples = examples.context("must be `auto` or a number of examples")?;
        ensure!(
            examples >= 2,
            "must be at least 2, since BatchNorm needs the variance of a micro-batch"
        );
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
