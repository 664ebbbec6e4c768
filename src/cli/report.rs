//! `resnet report`: makes the pages of a run again: `report.html`, its curves and its confusion matrix.
use super::evaluated::to_evaluate;
use super::trained::{Checkpoint, tell_limit};
use crate::config::{Batch, Data, Feeding, Given, Hardware};
use crate::process::{self, command, one_line, quoted};
use crate::report::{PAGE, Past, Tally, after_epoch, write_pages};
use crate::train::{checkpoint, evaluate_split};
use anyhow::{Result, ensure};
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet report runs/first     writes runs/first/report.html";

/// Arguments of `resnet report`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// The run's folder.
    run: PathBuf,
    #[command(flatten)]
    settings: Given<Settings>,
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
    batch: Batch,
}

/// Evaluates the test images and writes the files: with the newest checkpoint, or where epochs were compared on validation
/// images with the best one.
///
/// # Errors
/// When the run has no checkpoint, a file in it is damaged, the data cannot be read, or the device or the disk fails.
pub fn run(args: Args) -> Result<()> {
    let past = Past::read(&args.run)?;
    let held_out = past.best().is_some_and(|(best, _)| best.val_acc.is_some());
    let path = match held_out {
        true => checkpoint::best(&args.run)?,
        false => checkpoint::latest(&args.run)?,
    };
    let checkpoint = Checkpoint::read(&path, args.settings.layers())?;
    let data = to_evaluate(&checkpoint)?;
    let split = data.evaluated();
    let mut session = checkpoint.open(data.clone(), false)?;
    let labels = data.labels(split);
    let mut tally = Tally::new(split, checkpoint.info.classes.clone());
    let sums = evaluate_split(&mut session, split, |session, examples| {
        let of_batch: Vec<u32> = examples.iter().map(|&i| labels[i as usize]).collect();
        tally.add(examples, &of_batch, &session.logits()?);
        Ok(())
    })?;
    ensure!(
        sums.mean_loss().is_finite(),
        "the loss of {} is not finite: its training has diverged; look at another checkpoint with\n  {} {} --best",
        one_line(&path),
        command("eval"),
        quoted(&args.run)
    );
    tell_limit(&checkpoint.settings, sums.examples, &*data);
    let step = checkpoint::step_of(&path);
    let epoch = past.history.iter().find(|epoch| Some(epoch.step) == step);
    let when = match (epoch, step) {
        (Some(epoch), _) => after_epoch(epoch.epoch),
        (None, Some(step)) => format!("after step {step}"),
        (None, None) => "now".to_string(),
    };
    write_pages(&args.run, &tally, &when, &*data)?;
    writeln!(process::output(), "{}", one_line(args.run.join(PAGE)))?;
    Ok(())
}
