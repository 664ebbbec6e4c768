//! `resnet eval`: loss, accuracy, calibration, and each class's share of the confusion matrix on the test images.
use super::evaluated::to_evaluate;
use super::trained::{Checkpoint, tell_limit};
use super::tta::{Tta, answers_of, views};
use crate::config::range::CLASSES;
use crate::config::{Batch, Data, Feeding, Given, Hardware, Limit, Model, Preprocessing};
use crate::files;
use crate::model::zoo::title;
use crate::process::{self, one_line};
use crate::report::{Calibration, Confusion, OfClass, Predictions, answers};
use crate::train::checkpoint;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet eval runs/first               the newest checkpoint of a run
  resnet eval runs/first --best        the one with the best accuracy
  resnet eval weights.safetensors    a file of weights
  resnet eval runs/first --top-k 3     how often the true class is among three
  resnet eval runs/first --save-predictions answers.csv   what it says of each image
  resnet eval runs/first --tta flip    the mean answer for each image and its mirror image
  resnet eval runs/first --json        as JSON";

/// Arguments of `resnet eval`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// A run's folder, one of its checkpoints, or a file of weights.
    checkpoint: PathBuf,
    /// Takes the best checkpoint of the run instead of the newest.
    #[arg(long)]
    best: bool,
    /// Takes the moving average of the weights, which `train --ema` keeps, with that of BatchNorm's statistics.
    #[arg(long)]
    ema: bool,
    /// Test-time augmentation: takes the mean of the probabilities for several views of each image, all combinations of what is
    /// named. flip: as it is and mirrored. shift: as it is and moved in four directions, by a 32nd of its side.
    #[arg(long, value_name = "VIEWS", value_enum, value_delimiter = ',')]
    tta: Vec<Tta>,
    #[command(flatten)]
    settings: Given<Settings>,
    /// Also tells how often the true class is among the K most probable ones.
    #[arg(long, value_name = "K", value_parser = CLASSES.parser::<usize>())]
    top_k: Option<usize>,
    /// Writes a CSV file with a row for each image: its number, its class, the predicted one, and the probability of each.
    #[arg(long, value_name = "FILE")]
    save_predictions: Option<PathBuf>,
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
    feeding: Feeding,
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
    network: String,
    data: &'a str,
    /// Which of its images: test or validation.
    split: &'a str,
    device: &'a str,
    /// Whether it is the moving average of the weights.
    ema: bool,
    /// Views of each image.
    views: usize,
    examples: u64,
    loss: f64,
    accuracy: f64,
    /// Expected calibration error, in 15 bins.
    ece: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<TopK>,
    /// Accuracies.
    per_class: BTreeMap<&'a str, Option<f64>>,
    classes: Vec<OfClass<'a>>,
    confusion: &'a [Vec<u64>],
}

/// How often the true class is among the most probable ones.
#[derive(Serialize)]
struct TopK {
    k: usize,
    accuracy: f64,
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
    let checkpoint = Checkpoint::read(&path, args.settings.layers())?.averaged(args.ema)?;
    let classes = checkpoint.info.classes.len();
    if let Some(k) = args.top_k.filter(|k| *k > classes) {
        bail!("--top-k {k}: must be from 1 to {classes}, the number of classes");
    }
    if let Some(file) = &args.save_predictions {
        files::check_replaceable(file).context("--save-predictions")?;
    }
    let data = to_evaluate(&checkpoint)?;
    let split = data.evaluated();
    let views = views(&args.tta, checkpoint.info.preprocess.size);
    let mut session = checkpoint.open(data.clone(), views.len() > 1)?;

    let classes = &checkpoint.info.classes;
    let mut confusion = Confusion::new(classes.clone());
    let mut calibration = Calibration::default();
    let mut predictions = Predictions::new(classes.clone())?;
    let mut among_best = 0_u64;
    let (mut right, mut loss) = (0_u64, 0.0);
    let (logits, sums) = answers_of(&mut session, split, &views)?;
    confusion.add(&logits, data.labels(split).iter().copied());
    for (i, logits) in logits.chunks_exact(classes.len()).enumerate() {
        let label = data.labels(split)[i];
        let rank = answers::rank(logits, label as usize);
        let probabilities = answers::softmax(logits);
        right += u64::from(rank == 0);
        calibration.add(probabilities[answers::predicted(logits)], rank == 0);
        among_best += u64::from(args.top_k.is_some_and(|k| rank < k));
        loss -= probabilities[label as usize].ln();
        if args.save_predictions.is_some() {
            predictions.add(i as u32, label, logits)?;
        }
    }
    // Of a single view the device has measured it.
    let loss = match views.len() {
        1 => sums.mean_loss(),
        _ => loss / sums.examples as f64,
    };
    ensure!(
        loss.is_finite(),
        "the loss of {} is not finite: its training has diverged. Use another checkpoint",
        one_line(checkpoint.weights.path())
    );
    tell_limit(&checkpoint.settings, sums.examples, &*data);
    if let Some(file) = &args.save_predictions {
        files::replace(file, &predictions.into_bytes()?)?;
    }
    let per_class = confusion.per_class();
    let report = Report {
        checkpoint: checkpoint.weights.path().display().to_string(),
        network: title(&checkpoint.info.arch),
        data: &data.info().name,
        split: split.name(),
        device: session.backend().device(),
        examples: sums.examples,
        ema: args.ema,
        views: views.len(),
        loss,
        accuracy: right as f64 / sums.examples as f64,
        ece: calibration.error(),
        top_k: args.top_k.map(|k| TopK {
            k,
            accuracy: among_best as f64 / sums.examples as f64,
        }),
        per_class: per_class.iter().map(|c| (c.class, c.recall)).collect(),
        classes: per_class.clone(),
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
        network,
        data,
        split,
        device,
        ema,
        views,
        examples,
        loss,
        accuracy,
        ece,
        top_k,
        ..
    } = report;
    let checkpoint = one_line(checkpoint);
    writeln!(out, "{checkpoint} on {data}, {device}\n{network}")?;
    if *ema {
        writeln!(out, "moving average of the weights")?;
    }
    if *views > 1 {
        writeln!(out, "mean answer for {views} views of each image")?;
    }
    writeln!(
        out,
        "{split} loss {loss:.3}, {split} acc {accuracy:.4} ({examples} images)"
    )?;
    if let Some(TopK { k, accuracy }) = top_k {
        writeln!(out, "top-{k} acc {accuracy:.4}")?;
    }
    writeln!(
        out,
        "calibration error {ece:.4} (0: as often right as it says)"
    )?;
    write!(out, "\n{confusion}")?;
    Ok(())
}
