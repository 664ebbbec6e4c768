//! `resnet probe`: how much each residual block adds to its input, and what reaches it of the gradient.
use super::evaluated::to_evaluate;
use super::hardware;
use super::trained::{Checkpoint, tell_limit};
use crate::config::{
    Batch, Data, Feeding, Given, Hardware, Limit, Model, Precision, Preprocessing, Resolved,
    Source, Usage,
};
use crate::model::{self, zoo::title};
use crate::process::{self, one_line};
use crate::train::{BlockProbe, Probed, SessionSpec, checkpoint, probe};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet probe runs/first                        every block, on all test images
  resnet probe runs/first --limit-batches 4      on four batches of them
  resnet probe grown.safetensors --json        what `resnet grow` wrote; as JSON";

/// Columns of a full bar.
const BAR: usize = 12;

/// How many of the blocks are named that are nearest to the identity.
const NEAREST: usize = 3;

/// Arguments of `resnet probe`.
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
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// What may be set; by default all is as it was in the run, but stored as f32 and not fused.
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
    /// The network, in a line.
    network: String,
    data: &'a str,
    device: &'a str,
    /// Which ReLU `zeroed` is of.
    zeroed_by: ZeroedBy,
    #[serde(flatten)]
    probed: &'a Probed,
}

/// The ReLU of a block whose zeros are counted.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ZeroedBy {
    /// The one that takes the sum of branch and shortcut.
    ReluAfterSum,
    /// The first of a pre-activation block, before its branch: nothing follows the sum there.
    FirstRelu,
}

/// Measures and prints.
///
/// # Errors
/// When the checkpoint or the data cannot be read, the device fails, or the weights have diverged.
pub fn run(args: Args) -> Result<()> {
    let path = match args.best {
        true => checkpoint::best(&args.checkpoint)?,
        false => args.checkpoint,
    };
    let checkpoint = Checkpoint::read(&path, args.settings.layers())?;
    check_precision(&checkpoint.settings)?;
    let Checkpoint {
        weights,
        info,
        settings,
        average: _,
    } = &checkpoint;
    let config = &settings.config;
    let data = to_evaluate(&checkpoint)?;
    checkpoint.check_data(data.info())?;
    let (_, network) = model::describe(&info.arch, 1, info.preprocess.size)?;
    let values = weights.values(&network.params)?;
    let mut backend = hardware::open(&Hardware {
        precision: Precision::F32,
        ..config.hardware.clone()
    })?;
    let spec = SessionSpec::evaluating(config, info);
    let micro = config.batch.micro_batch;
    let feed = config.feeding.feed;
    let probed = probe(spec, feed, micro, &values, data.clone(), backend.as_mut())?;
    ensure!(
        probed.loss.is_finite(),
        "the loss of {} is not finite: its training has diverged. Use another checkpoint",
        one_line(weights.path())
    );
    tell_limit(settings, probed.examples, &*data);
    let report = Report {
        checkpoint: weights.path().display().to_string(),
        network: title(&info.arch),
        data: &data.info().name,
        device: backend.device(),
        zeroed_by: match info.arch.block.is_pre_activation() {
            true => ZeroedBy::FirstRelu,
            false => ZeroedBy::ReluAfterSum,
        },
        probed: &probed,
    };
    let mut out = process::output();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{}", text(&report))?,
    }
    Ok(())
}

/// A run may have been trained in another precision, but nobody may ask for one.
fn check_precision(settings: &Resolved) -> Result<()> {
    let asked = match settings.sources.get("precision") {
        None | Some(Source::File(_)) => return Ok(()),
        Some(source) => source,
    };
    match settings.config.hardware.precision {
        Precision::F32 => Ok(()),
        Precision::F16 | Precision::Bf16 => Err(Usage::error(format!(
            "{asked}: a probe computes in f32, so that small numbers keep their digits; leave it out"
        ))),
    }
}

/// The table with its bars, and what it means.
fn text(report: &Report) -> String {
    let Report {
        checkpoint,
        network,
        data,
        device,
        zeroed_by,
        probed: Probed {
            examples,
            loss,
            blocks,
        },
    } = report;
    let checkpoint = one_line(checkpoint);
    let most = |of: fn(&BlockProbe) -> f64| blocks.iter().map(of).fold(0.0, f64::max);
    let (ratios, gradients) = (most(|b| b.ratio), most(|b| b.gradient_norm));
    let name = |block: &BlockProbe| match block.projects {
        true => format!("{} *", block.block),
        false => block.block.clone(),
    };
    let width = blocks.iter().map(|b| name(b).len()).max().unwrap_or(0);
    // A column is a number of nine characters, a space and a bar.
    let column = BAR + 10;
    let mut text = format!(
        "{checkpoint} on {data}, {device}\n{network}\ntest loss {loss:.3} ({examples} images)\n\n\
         {:width$}  {:column$}  {:column$}  ‖dL/dx‖\n",
        "block", "‖F(x)‖/‖x‖", "zero after ReLU"
    );
    for block in blocks {
        let line = format!(
            "{:width$}  {:<9} {:BAR$}  {:<9} {:BAR$}  {:<9} {}",
            name(block),
            number(block.ratio),
            bar(block.ratio, ratios),
            number(block.zeroed),
            bar(block.zeroed, 1.0),
            number(block.gradient_norm),
            bar(block.gradient_norm, gradients)
        );
        text += line.trim_end();
        text += "\n";
    }
    let relu = match zeroed_by {
        ZeroedBy::ReluAfterSum => "of x + F(x), the share that the block's last ReLU makes zero",
        ZeroedBy::FirstRelu => "of the block's input, the share that its first ReLU makes zero",
    };
    text += &format!(
        "\nF(x): the block's branch, before it is added to the shortcut\nzero after ReLU: {relu}\n\
         ‖dL/dx‖: gradient of the mean loss at the block's input\n"
    );
    if blocks.iter().any(|block| block.projects) {
        text += "*: the shortcut projects x, since the shape changes; ‖F(x)‖ is over the norm of the projection\n";
    }
    let (identity, mut others): (Vec<_>, Vec<_>) = blocks
        .iter()
        .filter(|block| !block.projects)
        .partition(|block| block.ratio == 0.0);
    if !identity.is_empty() {
        let names: Vec<&str> = identity.iter().map(|b| b.block.as_str()).collect();
        text += &format!("The identity: {}\n", names.join(", "));
    }
    if !others.is_empty() {
        others.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
        let nearest = others.iter().take(NEAREST);
        let names: Vec<String> = nearest
            .map(|b| format!("{} ({})", b.block, number(b.ratio)))
            .collect();
        text += &format!("Nearest to the identity: {}\n", names.join(", "));
    }
    text
}

/// A number of at most nine characters. Small ones keep their digits, and only zero is written as such.
fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        _ if (0.01..1000.0).contains(&value) => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// A bar of [`BAR`] columns for `most`, to an eighth of a column; none for what is no number.
fn bar(value: f64, most: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = (value / most).clamp(0.0, 1.0);
    // A cast makes 0 of NaN.
    let eighths = (share * 8.0 * BAR as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::{bar, number};

    #[test]
    fn only_zero_looks_like_it() {
        let shown = [0.0, 1.5e-5, 0.01, 0.52345, 999.0, 4e5].map(number);
        assert_eq!(
            shown,
            ["0", "1.50e-5", "0.0100", "0.5234", "999.0000", "4.00e5"]
        );
    }

    #[test]
    fn bars_are_as_long_as_their_numbers() {
        assert_eq!(bar(1.0, 1.0), "█".repeat(12));
        assert_eq!(bar(0.5, 2.0), "█".repeat(3));
        assert_eq!(bar(1.0, 32.0), "▍");
        assert_eq!(bar(0.0, 1.0), "");
        assert_eq!(bar(0.0, 0.0), "");
        assert_eq!(bar(f64::INFINITY, 1.0), "█".repeat(12));
    }
}
