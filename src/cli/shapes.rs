//! `resnet shapes`: output sizes as the chapter prints them, or the whole table.
use crate::config::range::{CLASSES, COUNT};
use crate::config::{self, Given, Resolved, Usage};
use crate::model::zoo::title;
use crate::model::{self, Order, Row};
use crate::plan::mib;
use crate::process;
use anyhow::Result;
use serde::Serialize;
use std::io::Write;

const EXAMPLES: &str = "Examples:
  resnet shapes                      the chapter's lines, at 224×224
  resnet shapes --image-size 96      at the size that `train` uses
  resnet shapes --table              every layer with parameters and multiply-adds
  resnet shapes --arch resnet50 --channels 3 --classes 1000   another network, as published";

/// Side of the images whose shapes the chapter prints.
const CHAPTERS_SIZE: &str = "224";

/// Arguments of `resnet shapes`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES, mut_arg("image_size", |size| size.default_value(CHAPTERS_SIZE)))]
pub struct Args {
    #[command(flatten)]
    settings: Given<Settings>,
    /// Channels of the images.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = COUNT.parser::<usize>())]
    #[arg(allow_negative_numbers = true)]
    channels: usize,
    /// Classes that are told apart.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = CLASSES.parser::<usize>())]
    #[arg(allow_negative_numbers = true)]
    classes: usize,
    /// Order of the dimensions.
    #[arg(long, value_enum, default_value_t = Order::Nchw)]
    layout: Order,
    /// Every layer, with kernel, parameters, multiply-adds and the memory of its output.
    #[arg(long)]
    table: bool,
    /// The same as JSON.
    #[arg(long)]
    json: bool,
}

/// What may be set.
#[derive(clap::Args)]
struct Settings {
    #[command(flatten)]
    network: config::Network,
    #[command(flatten)]
    model: config::Model,
}

#[derive(Serialize)]
struct Report {
    /// The network, in a line.
    network: String,
    layers: Vec<Row>,
    parameters: usize,
    /// The same, under its older name.
    params: usize,
    macs: usize,
    activation_bytes: usize,
}

/// Prints the shapes.
///
/// # Errors
/// When the images are too small for the network.
pub fn run(args: Args) -> Result<()> {
    let Args {
        settings,
        channels,
        classes,
        layout,
        table,
        json,
    } = args;
    let Resolved { config, sources } = config::resolve(settings.layers())?;
    let image_size = match sources.contains_key("image_size") {
        true => config.model.image_size,
        false => CHAPTERS_SIZE.parse()?,
    };
    let arch = config.network.choice().arch(channels, classes);
    let arch = arch.map_err(Usage::error)?;
    arch.check_image(image_size, true).map_err(Usage::error)?;
    let network = title(&arch);
    let rows = model::table(&arch, 1, image_size, layout)?;
    let (params, macs) = (
        rows.iter().map(|r| r.params).sum(),
        rows.iter().map(|r| r.macs).sum(),
    );
    let activation_bytes = rows.iter().map(|r| r.activation_bytes).sum();
    let rows = if table { rows } else { model::summary(rows) };
    let mut out = process::output();
    if json {
        let report = Report {
            network,
            layers: rows,
            parameters: params,
            params,
            macs,
            activation_bytes,
        };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    process::say(network);
    if !table {
        for row in &rows {
            writeln!(
                out,
                "{:10} {:16} {}",
                row.name,
                row.kind,
                tuple(&row.output)
            )?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "{:24} {:16} {:>18} {:>6} {:>12} {:>15} {:>12}",
        "layer", "kind", "output", "kernel", "parameters", "multiply-adds", "memory"
    )?;
    for row in &rows {
        let kernel = row.kernel.map_or(String::new(), |k| format!("{k}×{k}"));
        writeln!(
            out,
            "{:24} {:16} {:>18} {kernel:>6} {:>12} {:>15} {:>12}",
            row.name,
            row.kind,
            tuple(&row.output),
            row.params,
            row.macs,
            mib(row.activation_bytes as u64)
        )?;
    }
    writeln!(
        out,
        "{:24} {:16} {:>18} {:>6} {params:>12} {macs:>15} {:>12}",
        "total",
        "",
        "",
        "",
        mib(activation_bytes as u64)
    )?;
    Ok(())
}

/// Dimensions as Python prints a tuple.
fn tuple(dimensions: &[usize]) -> String {
    let numbers: Vec<String> = dimensions.iter().map(usize::to_string).collect();
    format!("({})", numbers.join(", "))
}
