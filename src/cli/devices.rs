//! `resnet devices`: what there is to compute on, and what it offers.
use crate::backend::gpu::{AdapterReport, adapters};
use crate::backend::{Backend, cpu::Cpu};
use anyhow::Result;
use serde_json::json;
use std::io::Write;

/// Lists the devices that --device takes.
#[derive(clap::Args)]
pub struct Args {
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Prints the native CPU backend and every adapter, numbered as `--device` takes them.
///
/// # Errors
/// When the system does not tell its memory, or stdout is closed.
pub fn run(args: Args) -> Result<()> {
    let cpu = Cpu::new()?;
    let (name, memory) = (cpu.device(), cpu.memory()?);
    let adapters = adapters();
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = json!({ "cpu": { "name": name, "memory": memory }, "adapters": adapters });
        writeln!(out, "{all}")?;
        return Ok(());
    }
    writeln!(out, "cpu  {name}")?;
    writeln!(
        out,
        "     native backend, memory available {}",
        bytes(memory)
    )?;
    for (number, adapter) in adapters.iter().enumerate() {
        writeln!(out, "{}", text(number, adapter))?;
    }
    if adapters.is_empty() {
        writeln!(
            out,
            "no GPU adapter; on Debian and Ubuntu drivers come by `sudo apt-get install mesa-vulkan-drivers libvulkan1`"
        )?;
    }
    Ok(())
}

fn text(number: usize, a: &AdapterReport) -> String {
    let kind = if a.is_software() {
        "software (runs on the CPU)"
    } else {
        &a.kind
    };
    let with = |has: bool| {
        let names = a.features.iter().filter(|(_, present)| **present == has);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        if names.is_empty() {
            "none".to_string()
        } else {
            names.join(", ")
        }
    };
    format!(
        "{number:<4} {}\n     {}, {kind}, driver {}\n     memory {}, binding at most {}, buffer at most {}\n     \
         workgroups of at most {} invocations and {} of memory\n     features: {}; missing: {}",
        a.name,
        a.backend,
        a.driver,
        bytes(a.memory),
        bytes(Some(a.max_storage_buffer_binding_size)),
        bytes(Some(a.max_buffer_size)),
        a.max_compute_invocations_per_workgroup,
        bytes(Some(a.max_compute_workgroup_storage_size.into())),
        with(true),
        with(false),
    )
}

/// A size in the largest binary unit that leaves at least one of it.
fn bytes(size: Option<u64>) -> String {
    let Some(size) = size else {
        return "unknown".to_string();
    };
    let (mut value, mut unit) = (size as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}
