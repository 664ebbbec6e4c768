//! `resnet eval`: loss, accuracy, per-class accuracy and the confusion matrix on the test images.
use super::data;
use super::trained::{Checkpoint, tell_limit};
use crate::config::{Batch, Data, Given, Hardware, Limit, Model, Preprocessing};
use crate::data::{ImageSource, Split};
use crate::process;
use crate::report::Confusion;
use crate::train::{checkpoint, evaluate_split};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  resnet eval runs/001               the newest checkpoint of a run
  resnet eval runs/001 --best        the one with the best accuracy
  resnet eval weights.safetensors    a file of weights
  resnet eval runs/001 --json        as JSON";

/// Arguments of `resnet eval`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// A run's folder, one of its checkpoints, or a file of weights.
    checkpoint: PathBuf,
    /// Takes the best checkpoint of the run instead of the newest.
    #[arg(long)]
    best: bool,
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
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    preprocessing: Preprocessing,
}

#[derive(Serialize)]
struct Report<'a> {
    /// The file of weights.
    checkpoint: String,
    data: &'a str,
    device: &'a str,
    examples: u64,
    loss: f64,
    accuracy: f64,
    per_class: BTreeMap<&'a str, Option<f64>>,
    confusion: &'a [Vec<u64>],
}

/// Evaluates and prints.
///
/// # Errors
/// When the checkpoint or the data cannot be read or the device fails.
pub fn run(args: Args) -> Result<()> {
    let path = match args.best {
        true => checkpoint::best(&args.checkpoint)?,
        false => args.checkpoint,
    };
    let checkpoint = Checkpoint::read(&path, args.settings.layers())?;
    let data = Arc::new(data::load(&checkpoint.settings)?);
    let mut session = checkpoint.open(data.clone())?;

    let mut confusion = Confusion::new(checkpoint.info.classes.clone());
    let sums = evaluate_split(&mut session, Split::Test, |session, batch| {
        let logits = session.logits()?;
        confusion.add(&logits, batch.iter().map(|&i| data.test.labels[i as usize]));
        Ok(())
    })?;
    ensure!(
        sums.mean_loss().is_finite(),
        "the loss of {} is not finite: its training has diverged. Use another checkpoint",
        checkpoint.weights.display()
    );
    tell_limit(&checkpoint.settings, sums.examples, data.len(Split::Test));
    let report = Report {
        checkpoint: checkpoint.weights.display().to_string(),
        data: &data.info.name,
        device: session.backend().device(),
        examples: sums.examples,
        loss: sums.mean_loss(),
        accuracy: sums.accuracy(),
        per_class: confusion.per_class().into_iter().collect(),
        confusion: confusion.counts(),
    };
    print(&report, &confusion, args.json)
}

fn print(report: &Report, confusion: &Confusion, json: bool) -> Result<()> {
    let mut out = process::output();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let Report {
        checkpoint,
        data,
        device,
        examples,
        loss,
        accuracy,
        ..
    } = report;
    writeln!(out, "{checkpoint} on {data}, {device}")?;
    writeln!(
        out,
        "test loss {loss:.3}, test acc {accuracy:.4} ({examples} images)"
    )?;
    write!(out, "\n{confusion}")?;
    Ok(())
}
