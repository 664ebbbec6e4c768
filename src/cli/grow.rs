//! `resnet grow`: a deeper network that computes what a trained one does.
use crate::config::counts::{self, Counts, SHAPE};
use crate::config::range::SEED;
use crate::config::{self, Usage, value_name};
use crate::files;
use crate::model::zoo::{Choice, Name, title};
use crate::model::{self, Arch, Param};
use crate::process::{self, command, ensure_free, one_line, quoted};
use crate::train::checkpoint::{self, WeightsFile};
use crate::train::{WeightsInfo, folder};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::io::Write;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

const EXAMPLES: &str = "Examples:
  resnet grow runs/first --arch resnet34 --out grown.safetensors     18 layers become 34
  resnet grow runs/first --blocks 2,2,6,2 --out grown.safetensors    four blocks more in the third stage
  resnet eval grown.safetensors                                    the same loss as before
  resnet train --init grown.safetensors                            trains it on";

/// Images of this side fit every network; its parameters do not depend on it.
const SIDE: usize = 32;

/// Arguments of `resnet grow`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// A run's folder, one of its checkpoints, or a file of weights.
    checkpoint: PathBuf,
    /// The network to become, of the same kind of blocks.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "blocks",
        conflicts_with = "blocks"
    )]
    arch: Option<Name>,
    /// The blocks of each stage.
    #[arg(long, value_name = SHAPE, value_parser = counts::blocks)]
    blocks: Option<Counts>,
    /// The file to write, which must not exist yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Random seed of the new blocks' first convolutions.
    #[arg(long, default_value_t = 0, value_parser = SEED.parser::<u64>())]
    seed: u64,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    from: String,
    out: String,
    arch: Arch,
    parameters: usize,
    inserted: Vec<String>,
}

/// Grows and writes.
///
/// # Errors
/// When the weights cannot be read or are of another kind of network, nothing would grow, or the file is there already
/// or cannot be written.
pub fn run(args: Args) -> Result<()> {
    let out = &args.out;
    ensure!(
        out.symlink_metadata().is_err(),
        "--out {}: it exists already; name a file that does not",
        one_line(out)
    );
    files::check_replaceable(out).context("--out")?;
    if out.as_os_str().to_string_lossy().ends_with(MAIN_SEPARATOR) {
        let file = out.join("grown.safetensors");
        return Err(Usage::error(format!(
            "--out {}: name a file, such as {}",
            one_line(out),
            one_line(&file)
        )));
    }
    let weights = WeightsFile::find(&args.checkpoint)?;
    let told = weights.told()?;
    let small = match &told {
        Some(info) => info.arch.clone(),
        None => weights.recognise()?,
    };
    let shown = weights.path().display().to_string();
    let of_file = || format!("{} holds {}", one_line(&shown), title(&small));
    let blocks = blocks(args.arch, args.blocks, &small).with_context(of_file);
    let large = blocks.and_then(|blocks| small.deeper(&blocks).with_context(of_file));
    let large = large.map_err(Usage::error)?;

    let numbers = model::zoo::parameters(&small)? + model::zoo::parameters(&large)?;
    // Read, grown, and as they are written.
    ensure_free(3 * 4 * numbers as u64, "the weights of both networks")?;
    let params = params(&small)?;
    let values = weights.values(&params)?;
    let names = params.into_iter().map(|param| param.name);
    let wider = self::params(&large)?;
    let grown = model::grow(&large, &wider, names.zip(values).collect(), args.seed);
    let info = told.map(|info| WeightsInfo::new(large.clone(), info.preprocess, info.classes));
    let values: Vec<Vec<f32>> = grown.into_iter().map(|(_, values)| values).collect();
    checkpoint::write_weights(out, info.as_ref(), &wider, &values)?;

    let inserted = inserted(&small, &large);
    let mut to = process::output();
    if args.json {
        let report = Report {
            from: shown,
            out: out.display().to_string(),
            parameters: model::zoo::parameters(&large)?,
            arch: large,
            inserted,
        };
        writeln!(to, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(to, "{}", of_file())?;
        writeln!(to, "{} holds {}", one_line(out), title(&large))?;
        writeln!(
            to,
            "Inserted, each the identity until it is trained: {}",
            inserted.join(", ")
        )?;
        let (init, data) = (command("train --init"), data_of(&args.checkpoint)?);
        writeln!(to, "Train it on: {init} {}{data}", quoted(out))?;
    }
    Ok(to.flush()?)
}

/// The flags that name the data of a run.
fn data_of(checkpoint: &Path) -> Result<String> {
    let Some(run) = folder::run_of(checkpoint)? else {
        return Ok(String::new());
    };
    let flags = config::resolve(&[folder::settings(&run)?])?
        .config
        .flags()?;
    let names_data = |flag: &String| flag.starts_with("--data ") || flag.starts_with("--labels ");
    let flags = flags.into_iter().filter(names_data);
    Ok(flags.map(|flag| format!(" {flag}")).collect())
}

/// The blocks of each stage that were asked for.
fn blocks(name: Option<Name>, blocks: Option<Counts>, small: &Arch) -> Result<Vec<usize>> {
    let Some(name) = name else {
        return Ok(blocks.context("--arch or --blocks is needed")?.numbers());
    };
    let named = Choice {
        name,
        ..Choice::default()
    };
    let named = named.arch(small.in_channels, small.classes)?;
    let bottleneck = |arch: &Arch| arch.block.expansion() > 1;
    let kind = |bottleneck| match bottleneck {
        true => "bottlenecks",
        false => "basic blocks",
    };
    if bottleneck(&named) != bottleneck(small) {
        bail!(
            "--arch {} is made of {}, but a network of {} grows by its own kind of blocks only",
            value_name(&name),
            kind(bottleneck(&named)),
            kind(bottleneck(small))
        );
    }
    let widths = |arch: &Arch| arch.stages.iter().map(|s| s.width).collect::<Vec<_>>();
    ensure!(
        widths(&named) == widths(small),
        "--arch {} has other widths: {:?}, not {:?}; give --blocks instead",
        value_name(&name),
        widths(&named),
        widths(small)
    );
    Ok(named.stages.iter().map(|stage| stage.blocks).collect())
}

fn params(arch: &Arch) -> Result<Vec<Param>> {
    Ok(model::describe(arch, 1, SIDE)?.1.params)
}

/// PyTorch's names of the blocks that one network has and the other has not.
fn inserted(small: &Arch, large: &Arch) -> Vec<String> {
    let stages = small.stages.iter().zip(&large.stages).enumerate();
    let new = stages.flat_map(|(s, (small, large))| {
        (small.blocks..large.blocks).map(move |block| format!("layer{}.{block}", s + 1))
    });
    new.collect()
}
