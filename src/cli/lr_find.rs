//! `resnet lr-find`: the loss over rising learning rates, and the rate that it suggests.
use super::begin::{self, Beginning};
use super::hardware;
use crate::config::range::{LR_STEPS, above_zero};
use crate::config::{
    self, Augment, Batch, Begin, Data, Feeding, Given, Hardware, Model, Network, Optim, Pictures,
    Preprocessing, Random, TrainConfig, Training, Usage,
};
use crate::files;
use crate::process::{self, command};
use crate::report::{Console, lr_curve};
use crate::train::{LrCurve, Observer, Sweep, Trainer};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet lr-find                             100 steps on the data, at 96×96
  resnet lr-find --image-size 28 --out lr.svg   faster, and the curve as a picture
  resnet lr-find --optimizer adamw --to 1    another optimiser, and no rates above 1
  resnet lr-find --init runs/first --freeze stem,layer1   before fine-tuning
  resnet lr-find --json                      as JSON";

/// Arguments of `resnet lr-find`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: Given<Settings>,
    /// TOML file of settings. Flags and variables override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The first learning rate.
    #[arg(long, value_name = "LR", default_value_t = 1e-5, value_parser = above_zero::<f32>)]
    from: f32,
    /// The last learning rate, which is not reached if the loss diverges before.
    #[arg(long, value_name = "LR", default_value_t = 10.0, value_parser = above_zero::<f32>)]
    to: f32,
    /// Rates to try, one step each.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = LR_STEPS.parser::<usize>())]
    steps: usize,
    /// Draws the curve as SVG into this file too.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// The settings that a step depends on, but for the learning rate.
#[derive(clap::Args)]
struct Settings {
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    feeding: Feeding,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    augment: Augment,
    #[command(flatten)]
    batch: Batch,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    begin: Begin,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    preprocessing: Preprocessing,
    #[command(flatten)]
    optim: Optim,
    #[command(flatten)]
    random: Random,
}

#[derive(Serialize)]
struct Report {
    suggestion: Option<f32>,
    /// Whether the loss diverged before the last rate.
    diverged: bool,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    lr: f32,
    /// Null where it is not finite.
    loss: f32,
    smoothed: f64,
}

/// Trains with rising rates and prints the curve. Nothing is written but what --out names.
///
/// # Errors
/// When a setting, file or device is not usable, or the loss falls at no rate.
pub fn run(args: Args) -> Result<()> {
    let sweep = Sweep {
        from: args.from,
        to: args.to,
        steps: args.steps,
    };
    if sweep.to <= sweep.from {
        return Err(Usage::error(format!(
            "--to {}: must be above --from {}",
            sweep.to, sweep.from
        )));
    }
    if let Some(file) = &args.out {
        files::check_replaceable(file).context("--out")?;
    }
    let resolved = config::from_file(args.config.as_deref(), args.settings.layers())?;
    let start = begin::start(&resolved.config.begin)?;
    let Beginning {
        config,
        arch,
        data,
        start,
    } = begin::with(resolved, start)?;
    let hardware = config.hardware.clone();
    let flags = again(&config)?;
    let trainer = Trainer::without_folder(config, arch, data, start)?;
    for note in trainer.notes() {
        process::say(note);
    }
    let backend = hardware::open(&hardware)?;
    let mut observers: [Box<dyn Observer>; 1] = [Box::<Console>::default()];
    let bar = match process::shows_progress() {
        true => ProgressBar::new(sweep.steps as u64),
        false => ProgressBar::hidden(),
    };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}");
    bar.set_style(style.context("the progress bar")?);
    let curve = trainer.find_lr(backend, &mut observers, &sweep, |tried| {
        bar.set_message(format!("lr {:.1e}  loss {:.3}", tried.lr, tried.smoothed));
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    if let Some(file) = &args.out {
        files::replace(file, lr_curve::svg(&curve).as_bytes())?;
    }
    print(&curve, args.json)?;
    let next = match curve.suggestion() {
        Some(lr) if !args.json => format!("{}{flags} --lr {lr:.1e}", command("train")),
        Some(_) => return Ok(()),
        None => anyhow::bail!(
            "the loss fell at no learning rate from {} to {}: try a higher --to or more --steps",
            sweep.from,
            sweep.to
        ),
    };
    process::say(format_args!("with the suggested rate:\n  {next}"));
    Ok(())
}

/// The flags of what was tried, but for the learning rate.
fn again(config: &TrainConfig) -> Result<String> {
    let flags = config.flags()?.into_iter();
    let others = flags.filter(|flag| !flag.starts_with("--lr "));
    Ok(others.map(|flag| format!(" {flag}")).collect())
}

fn print(curve: &LrCurve, json: bool) -> Result<()> {
    let mut out = process::output();
    if json {
        let steps = curve.tried.iter().map(|tried| Step {
            lr: tried.lr,
            loss: tried.loss,
            smoothed: tried.smoothed,
        });
        let report = Report {
            suggestion: curve.suggestion(),
            diverged: curve.diverged,
            steps: steps.collect(),
        };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", lr_curve::text(curve))?;
    }
    out.flush()?;
    Ok(())
}
