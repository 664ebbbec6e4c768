//! `resnet bench`: training and inference on synthetic images, and the plan as text.
use crate::backend::gpu::Options;
use crate::backend::{self, Choice};
use crate::bench::{Report, Settings, measure};
use crate::report::mib;
use anyhow::{Result, ensure};
use std::io::{Write, stdout};

const EXAMPLES: &str = "Examples:
  resnet bench                             the default device at 96×96, batch 256
  resnet bench --device cpu --image-size 28
  resnet bench --dump-graph                the plan of a training step; nothing is executed";

/// Arguments of `resnet bench`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// Device: auto, cpu, gpu, the number of an adapter or a part of its name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Examples per step.
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// Side of the images in pixels.
    #[arg(long, default_value_t = 96)]
    image_size: usize,
    /// Measured steps, after one that warms up.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Keeps wgpu's run-time checks in the GPU kernels: slower, and safe with any driver or kernel.
    #[arg(long)]
    checked: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Prints the plan of a training step, one line per dispatch, and stops.
    #[arg(long)]
    dump_graph: bool,
}

/// Measures and prints.
///
/// # Errors
/// When the device is not there, its memory too small, or it fails.
pub fn run(args: Args) -> Result<()> {
    let Args {
        device,
        batch_size,
        image_size,
        steps,
        checked,
        json,
        dump_graph,
    } = args;
    ensure!(steps > 0, "--steps must be at least 1");
    ensure!(
        batch_size > 1,
        "--batch-size must be at least 2: BatchNorm needs more than one example"
    );
    ensure!(image_size > 0, "--image-size must be at least 1");
    let options = Options {
        checked,
        ..Options::default()
    };
    let (backend, note) = backend::open(&device, options)?;
    if let Some(note) = note {
        eprintln!("{note}");
    }
    let settings = Settings {
        batch_size,
        image_size,
        steps,
    };
    let mut out = stdout().lock();
    if dump_graph {
        write!(out, "{}", settings.dump(backend.limits())?)?;
        return Ok(());
    }
    let report = measure(&settings, backend)?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    let Report {
        device,
        train,
        infer,
        peak_memory_bytes,
        plan,
    } = report;
    writeln!(out, "device     {device}")?;
    for (name, rate) in [("training", train), ("inference", infer)] {
        writeln!(
            out,
            "{name:10} {:.1} examples/s (from {:.1} to {:.1} over {steps} steps)",
            rate.examples_per_second, rate.min, rate.max
        )?;
    }
    writeln!(out, "memory     {} at the peak", mib(peak_memory_bytes))?;
    writeln!(
        out,
        "plan       {} dispatches, {:.1} GFLOP, {:.2} GB moved, {} per training step",
        plan.dispatches,
        plan.flops as f64 / 1e9,
        plan.bytes as f64 / 1e9,
        mib(plan.memory_bytes)
    )?;
    Ok(())
}
