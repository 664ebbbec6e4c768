//! `resnet eval`: loss, accuracy, per-class accuracy and the confusion matrix on the test images.
use super::trained::Checkpoint;
use crate::config::{Batch, Data, Given, Hardware, Limit};
use crate::data::{self, Split};
use crate::report::Confusion;
use crate::train::{Sums, evaluate_split};
use anyhow::Result;
use serde::Serialize;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  resnet eval runs/001               the newest checkpoint of a run
  resnet eval weights.safetensors    a file of weights
  resnet eval runs/001 --json        as JSON";

/// Arguments of `resnet eval`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// A run's folder, one of its checkpoints, or a file of weights.
    checkpoint: PathBuf,
    #[command(flatten)]
    settings: Given<Settings>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What may be set; by default all is as it was in the run.
#[derive(clap::Args)]
struct Settings {
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    batch: Batch,
}

#[derive(Serialize)]
struct Report<'a> {
    checkpoint: String,
    device: &'a str,
    examples: u64,
    loss: f64,
    accuracy: f64,
    per_class: serde_json::Map<String, serde_json::Value>,
    confusion: &'a [Vec<u64>],
}

/// Evaluates and prints.
///
/// # Errors
/// When the checkpoint or the data cannot be read or the device fails.
pub fn run(args: Args) -> Result<()> {
    let checkpoint = Checkpoint::read(&args.checkpoint, args.settings.layers())?;
    let data = Arc::new(data::load(checkpoint.config.data.data.as_deref())?);
    for note in &data.info.notes {
        eprintln!("{note}");
    }
    let mut session = checkpoint.open(data.clone())?;

    let mut confusion = Confusion::new(checkpoint.info.classes);
    let sums = evaluate_split(&mut session, Split::Test, |session, batch| {
        let logits = session.logits()?;
        confusion.add(&logits, batch.iter().map(|&i| data.test.labels[i as usize]));
        Ok(())
    })?;
    print(
        &args.checkpoint.display().to_string(),
        session.backend().device(),
        &sums,
        &confusion,
        args.json,
    )
}

fn print(
    checkpoint: &str,
    device: &str,
    sums: &Sums,
    confusion: &Confusion,
    json: bool,
) -> Result<()> {
    let mut out = stdout().lock();
    let (loss, accuracy) = (sums.mean_loss(), sums.accuracy());
    if json {
        let per_class = confusion
            .per_class()
            .into_iter()
            .map(|(c, a)| (c.to_string(), a.into()));
        let report = Report {
            checkpoint: checkpoint.to_string(),
            device,
            examples: sums.examples,
            loss,
            accuracy,
            per_class: per_class.collect(),
            confusion: confusion.counts(),
        };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "test loss {loss:.3}, test acc {accuracy:.4} ({} images, {device})",
        sums.examples
    )?;
    write!(out, "\n{confusion}")?;
    Ok(())
}
