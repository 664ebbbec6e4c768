//! `resnet eval`: loss, accuracy, per-class accuracy and the confusion matrix on the test images.
use super::hardware::Hardware;
use crate::backend::Choice;
use crate::backend::cpu::precision::MatmulPrecision;
use crate::config::{MicroBatch, Precision, TrainConfig};
use crate::data;
use crate::report::{Confusion, Sums};
use crate::train::checkpoint::{self, WeightsInfo};
use crate::train::{Prepared, Session, Spec, folder, test};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::io::{Write, stdout};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet eval runs/001               the newest checkpoint of a run
  resnet eval weights.safetensors    a file of weights
  resnet eval runs/001 --json        the same as data";

/// Arguments of `resnet eval`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// A run's folder, one of its checkpoints, or a file of weights.
    checkpoint: PathBuf,
    /// Device: auto, cpu, gpu, the number of an adapter or a part of its name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Folder with the data set, or `sample`; by default what the run was trained on.
    #[arg(long)]
    data: Option<String>,
    /// Images per step.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Evaluates only the first batches.
    #[arg(long)]
    limit_batches: Option<usize>,
    #[command(flatten)]
    hardware: Hardware,
    /// How exactly matrices are multiplied, as in PyTorch: in f32, about 16 bits of mantissa, or 8; medium on a GPU
    /// means 11, by its cooperative matrices and with --precision f16.
    #[arg(long, value_enum, default_value_t)]
    matmul_precision: MatmulPrecision,
    /// Runs every node by itself, as the reference for the fused steps.
    #[arg(long)]
    no_fuse: bool,
    /// What activations are stored as; by default what the run was trained with.
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
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
    let weights = checkpoint::weights_of(&args.checkpoint)?;
    let WeightsInfo {
        arch,
        image_size,
        classes,
    } = checkpoint::read_info(&weights)?;
    // A run's folder also tells what it was trained on; a file alone has the defaults.
    let mut config = match args.checkpoint.join("config.toml").is_file() {
        true => folder::read_config(&args.checkpoint)?,
        false => TrainConfig::default(),
    };
    config.data = args.data.or(config.data);
    config.precision = args.precision.unwrap_or(config.precision);
    config.batch_size = args.batch_size.unwrap_or(config.batch_size);
    config.limit_batches = args.limit_batches.or(config.limit_batches);
    ensure!(config.batch_size > 0, "--batch-size must be at least 1");
    ensure!(
        config.limit_batches != Some(0),
        "--limit-batches must be at least 1"
    );

    let data = data::load(config.data.as_deref())?;
    for note in &data.notes {
        eprintln!("{note}");
    }
    ensure!(
        data.classes.len() == arch.classes && data.test.channels == arch.in_channels,
        "{} was trained for {} classes and {} channel(s), but {} has {} and {}",
        weights.display(),
        arch.classes,
        arch.in_channels,
        data.name,
        data.classes.len(),
        data.test.channels
    );
    let backend = args
        .hardware
        .open(&args.device, args.matmul_precision, config.precision)?;
    let spec = Spec {
        arch,
        batch_size: config.batch_size,
        micro_batch: config.micro_batch.and_then(MicroBatch::examples),
        image_size,
        limit_batches: config.limit_batches,
        optimizer: None,
        fuse: config.fuse && !args.no_fuse,
        stored: config.precision.stored(),
        tilings: config.tilings.clone(),
    };
    let prepared = Prepared::new(&spec, &data, backend.limits())?;
    prepared.check_memory(&spec, &data, backend.as_ref())?;
    let mut session = Session::open(prepared, &data, backend)?;
    checkpoint::load_weights(&mut session, &weights)?;

    let mut confusion = Confusion::new(classes);
    let sums = test(&mut session, data.test.count, &config, |session, batch| {
        let logits = session.logits(batch.len())?;
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
