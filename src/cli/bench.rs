//! `resnet bench`: training and inference on synthetic images or a data set, the time of every kernel, an estimate
//! for a card, and the plan and the shaders as text.
use super::hardware::{self, check_shaders};
use super::images;
use crate::bench::profile::Row;
use crate::bench::{self, Report, cards, measure};
use crate::config::range::{TIMED_STEPS, above_zero};
use crate::config::{
    self, Batch, Data, FeedName, Feeding, Given, Hardware, Model, Network, Optim, Pictures,
    Resolved, Source, Usage,
};
use crate::data::Preprocess;
use crate::files;
use crate::plan::{Roofline, mib};
use crate::process::{self, one_line};
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "Examples:
  resnet bench                             the default device at 96×96, batch 256
  resnet bench --device cpu --image-size 28
  resnet bench --arch resnet50 --batch-size 32   another network
  resnet bench --inference --batch-size 1  how long one image takes, as in `resnet predict`
  resnet bench --data photos --feed streamed   on a data set, and how long steps wait for its images
  resnet bench --profile --card \"RX 7900 XTX\"   every kernel, compared with the card's peaks
  resnet bench --trace step.json           the same for ui.perfetto.dev
  resnet bench --predict --peak 6.8 --bandwidth 200   an estimate for a card; needs no device
  resnet bench --dump-graph                the plan of a training step; nothing is executed";

/// With these nothing is measured.
const NOTHING_MEASURED: [&str; 3] = ["predict", "dump_graph", "dump_wgsl"];

/// Settings of a device, where none is opened.
const OF_A_DEVICE: [&str; 3] = ["device", "threads", "checked"];

/// Settings of a data set, which only what is measured on one heeds.
const OF_DATA: [&str; 6] = [
    "labels",
    "max_broken",
    "allow_empty",
    "channels",
    "fit",
    "feed",
];

/// Arguments of `resnet bench`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
#[command(mut_args(|arg| match arg.get_id().as_str() {
    "data" => arg
        .help("Measures on the images of a folder, or of a data set that has a name [default: synthetic images]")
        .conflicts_with_all(NOTHING_MEASURED),
    id if OF_DATA.contains(&id) => arg.requires("data"),
    _ => arg,
}))]
pub struct Args {
    #[command(flatten)]
    settings: Given<Settings>,
    /// Measured steps, after one warm-up step.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = TIMED_STEPS.parser::<usize>())]
    #[arg(allow_negative_numbers = true, conflicts_with_all = NOTHING_MEASURED)]
    steps: usize,
    /// Measures inference alone, at any batch size, in a session that holds nothing for training.
    #[arg(long, conflicts_with_all = ["predict", "card", "peak", "dump_wgsl"])]
    inference: bool,
    /// Times every kernel of a training step too, or of an evaluation step with --inference.
    #[arg(long, conflicts_with_all = NOTHING_MEASURED)]
    profile: bool,
    /// Writes the times of a step's kernels as a trace that ui.perfetto.dev opens.
    #[arg(long, value_name = "FILE", conflicts_with_all = NOTHING_MEASURED)]
    trace: Option<PathBuf>,
    /// Prints an estimate for a card, from the plan alone, and stops.
    #[arg(long, conflicts_with_all = ["dump_graph", "dump_wgsl"])]
    #[arg(conflicts_with_all = OF_A_DEVICE)]
    predict: bool,
    /// A card whose peaks are known, such as "RTX 4090"; an unknown name lists all.
    #[arg(long, conflicts_with_all = ["peak", "bandwidth", "dump_graph", "dump_wgsl"])]
    card: Option<String>,
    /// The card's f32 TFLOPS.
    #[arg(long, value_name = "TFLOPS", requires = "bandwidth", value_parser = above_zero::<f64>)]
    #[arg(allow_negative_numbers = true, conflicts_with_all = ["dump_graph", "dump_wgsl"])]
    peak: Option<f64>,
    /// The card's memory bandwidth in GB/s.
    #[arg(long, value_name = "GBS", requires = "peak", value_parser = above_zero::<f64>, allow_negative_numbers = true)]
    bandwidth: Option<f64>,
    /// One JSON object instead of text.
    #[arg(long, conflicts_with_all = ["dump_graph", "dump_wgsl"])]
    json: bool,
    /// Prints the plan of a training step, or of an evaluation step with --inference, one line per dispatch, and stops.
    #[arg(long, conflicts_with = "dump_wgsl")]
    dump_graph: bool,
    /// Writes every WGSL module of a training and an evaluation step into this folder, convolutions in every tile, and
    /// stops.
    #[arg(long, value_name = "DIR", conflicts_with_all = OF_A_DEVICE)]
    dump_wgsl: Option<PathBuf>,
}

/// What may be set.
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
    batch: Batch,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    optim: Optim,
}

/// Measures and prints.
///
/// # Errors
/// When the device is not there, its memory too small, or it fails.
pub fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let resolved = config::resolve(args.settings.layers())?;
    let hardware = resolved.config.hardware.clone();
    let mut settings = settings(&args, &resolved)?;
    if is_on_data(&resolved) {
        let config = &resolved.config;
        let preprocess = Preprocess::of_size(config.model.image_size);
        let wanted = images::wanted(config, preprocess, None);
        let data = images::load(&resolved, &wanted)?;
        settings = settings.on(data).map_err(Usage::error)?;
    }
    let card = card(&args)?;
    if args.card.is_some() {
        check_shaders("--card", hardware.precision)?;
    }
    let mut out = process::output();
    if let Some(folder) = &args.dump_wgsl {
        check_shaders("--dump-wgsl", hardware.precision)?;
        return dump_wgsl(&settings, folder);
    }
    if args.predict {
        let (name, roofline) = card.ok_or_else(|| {
            Usage::error(
                "--predict: name the card by --card NAME or its peaks by --peak TFLOPS --bandwidth GBS",
            )
        })?;
        let prediction = settings.predict(roofline)?;
        match args.json {
            true => writeln!(out, "{}", serde_json::to_string(&prediction)?)?,
            false => writeln!(out, "{}", predicted(&name, &settings, roofline)?)?,
        }
        return Ok(());
    }
    let backend = hardware::open(&hardware)?;
    if args.dump_graph {
        write!(out, "{}", settings.dump(backend.as_ref())?)?;
        return Ok(());
    }
    let roofline = card.as_ref().map(|(_, roofline)| *roofline);
    if let Some(path) = &args.trace {
        // Said before minutes of measuring.
        files::check_replaceable(path).context("--trace")?;
    }
    let timed = args.profile || args.trace.is_some();
    let batch_size = settings.config.batch.batch_size;
    let report = measure(&settings, backend, started, timed, roofline)?;
    if let (Some(path), Some(trace)) = (&args.trace, &report.trace) {
        files::replace(path, trace.to_string().as_bytes())
            .with_context(|| format!("--trace {}", one_line(path)))?;
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    print(&mut out, &report, args.steps, batch_size)?;
    if let (true, Some(rows)) = (args.profile, &report.profile) {
        print_profile(&mut out, rows)?;
    }
    if let Some((name, roofline)) = card {
        writeln!(out, "{}", predicted(&name, &settings, roofline)?)?;
    }
    Ok(())
}

/// Whether a data set is to be measured on. A variable names that of trainings.
fn is_on_data(resolved: &Resolved) -> bool {
    matches!(resolved.sources.get("data"), Some(Source::Flag(_)))
}

fn settings(args: &Args, resolved: &Resolved) -> Result<bench::Settings> {
    let mut config = resolved.config.clone();
    if !is_on_data(resolved) {
        config.feeding.feed = FeedName::Auto;
    }
    if !args.inference {
        let alone = "; take --inference to measure inference alone";
        config
            .check_training()
            .map_err(|e| Usage::error(format!("{e}{alone}")))?;
    }
    bench::Settings::new(config, args.steps, args.inference).map_err(Usage::error)
}

/// The card that the flags name, if they name one.
fn card(args: &Args) -> Result<Option<(String, Roofline)>> {
    if let Some(name) = &args.card {
        let (name, roofline) = cards::find(name).map_err(Usage::error)?;
        return Ok(Some((name.to_string(), roofline)));
    }
    let (Some(peak), Some(bandwidth)) = (args.peak, args.bandwidth) else {
        return Ok(None);
    };
    let name = format!("{peak} TFLOPS and {bandwidth} GB/s");
    Ok(Some((name, cards::roofline(peak, bandwidth))))
}

fn dump_wgsl(settings: &bench::Settings, folder: &Path) -> Result<()> {
    let modules = settings.modules()?;
    fs::create_dir_all(folder).with_context(|| format!("--dump-wgsl {}", one_line(folder)))?;
    for (name, source) in &modules {
        let path = folder.join(format!("{name}.wgsl"));
        files::replace(&path, source.as_bytes())
            .with_context(|| format!("--dump-wgsl {}", one_line(&path)))?;
    }
    process::say(format_args!(
        "{} modules written to {}",
        modules.len(),
        one_line(folder)
    ));
    Ok(())
}

fn print(out: &mut impl Write, report: &Report, steps: usize, batch_size: usize) -> Result<()> {
    writeln!(out, "network    {}", report.network)?;
    writeln!(out, "device     {}", report.device)?;
    for line in report.tuning.iter().flat_map(|note| note.lines()) {
        writeln!(out, "tuning     {line}")?;
    }
    writeln!(
        out,
        "first step {:.2} s after the start",
        report.first_step_seconds
    )?;
    let rates = [
        ("training", report.train),
        ("inference", Some(report.infer)),
    ];
    for (name, rate) in rates {
        let Some(rate) = rate else { continue };
        writeln!(
            out,
            "{name:10} {:.1} examples/s (from {:.1} to {:.1} over {steps} steps)",
            rate.examples_per_second, rate.min, rate.max
        )?;
    }
    if let (Some(seconds), Some(rate)) = (report.observers_seconds, report.train) {
        let step = batch_size as f64 / rate.examples_per_second;
        writeln!(
            out,
            "observers  {:.1} µs a step, {:.4} % of it",
            1e6 * seconds,
            100.0 * seconds / step
        )?;
    }
    if let Some(waited) = report.waited {
        let share = 100.0 * waited;
        writeln!(
            out,
            "waiting    {share:.2} % of the training steps, for images"
        )?;
    }
    let (peak, plan) = (report.peak_memory_bytes, report.plan);
    let step = if report.train.is_some() {
        "training"
    } else {
        "evaluation"
    };
    writeln!(out, "memory     {} at the peak", mib(peak))?;
    writeln!(
        out,
        "plan       {} dispatches, {:.1} GFLOP, {:.2} GB moved, {} per {step} step",
        plan.dispatches,
        plan.flops as f64 / 1e9,
        plan.bytes as f64 / 1e9,
        mib(plan.memory_bytes)
    )?;
    Ok(())
}

fn print_profile(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    let all: f64 = rows.iter().map(|row| row.seconds).sum();
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).len()).max();
    let op = width(|row| row.op).unwrap_or(0);
    let kernel = width(|row| &row.kernel).unwrap_or(0).max(6);
    let bounded = rows.iter().any(|row| row.bound_seconds.is_some());
    let last = if bounded { "  roofline" } else { "" };
    writeln!(
        out,
        "\n{:op$}  {:kernel$}  calls        ms   share     GFLOP        MB   TFLOPS     GB/s{last}",
        "op", "kernel"
    )?;
    for row in rows {
        let (flops, bytes) = (row.flops as f64, row.bytes as f64);
        write!(
            out,
            "{:op$}  {:kernel$}  {:>5}  {:>8.3}  {:>5.1} %  {:>8.2}  {:>8.1}  {:>7.3}  {:>7.1}",
            row.op,
            row.kernel,
            row.calls,
            row.seconds * 1e3,
            100.0 * row.seconds / all,
            flops / 1e9,
            bytes / 1e6,
            flops / row.seconds / 1e12,
            bytes / row.seconds / 1e9
        )?;
        match row.bound_seconds {
            Some(bound) => writeln!(out, "  {:>6.1} %", 100.0 * bound / row.seconds)?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "{:.3} ms in all", all * 1e3)?;
    Ok(())
}

fn predicted(card: &str, settings: &bench::Settings, roofline: Roofline) -> Result<String> {
    let prediction = settings.predict(roofline)?;
    Ok(format!(
        "predicted  {:.0} examples/s in training and {:.0} in inference on {card},\n           \
         if every kernel reaches 55 % of the arithmetic or 80 % of the bandwidth, plus 5 µs per kernel",
        prediction.train, prediction.infer
    ))
}
