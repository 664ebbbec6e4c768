//! `resnet devices`: what can train here.
use crate::backend::cpu::host;
use crate::backend::gpu::{AdapterReport, adapters};
use crate::plan::mib;
use crate::process;
use anyhow::Result;
use serde::Serialize;
use std::io::Write;

const EXAMPLES: &str = "Examples:
  resnet devices
  resnet train --device 0        the first adapter of the list
  resnet train --device radeon   the adapter with this in its name";

/// Arguments of `resnet devices`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    cpu: CpuReport,
    adapters: Vec<AdapterReport>,
}

#[derive(Serialize)]
struct CpuReport {
    name: String,
    threads: usize,
    available_memory: u64,
}

/// Lists the CPU and every adapter.
///
/// # Errors
/// When the system does not tell about itself.
pub fn run(args: Args) -> Result<()> {
    let cpu = CpuReport {
        name: host::processor()?,
        threads: std::thread::available_parallelism()?.get(),
        available_memory: host::available_memory()?,
    };
    let report = Report {
        cpu,
        adapters: adapters(),
    };
    let mut out = process::output();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    let Report { cpu, adapters } = report;
    writeln!(out, "cpu  {}", cpu.name)?;
    writeln!(
        out,
        "     {} threads, {} free",
        cpu.threads,
        mib(cpu.available_memory)
    )?;
    for (i, a) in adapters.iter().enumerate() {
        let memory = a.memory.map_or("unknown".to_string(), mib);
        let software = if a.is_software() {
            ", a software adapter"
        } else {
            ""
        };
        let has = |wanted: bool| {
            let names = a
                .features
                .iter()
                .filter(|(_, has)| **has == wanted)
                .map(|(name, _)| *name);
            names.collect::<Vec<_>>().join(", ")
        };
        writeln!(out, "{i:<3}  {}", a.name)?;
        writeln!(
            out,
            "     {} through {}, {}{software}",
            a.kind, a.backend, a.driver
        )?;
        writeln!(
            out,
            "     memory {memory}, largest binding {}, largest buffer {}",
            mib(a.max_storage_buffer_binding_size),
            mib(a.max_buffer_size)
        )?;
        writeln!(
            out,
            "     {} bytes of workgroup memory, {} invocations per workgroup",
            a.max_compute_workgroup_storage_size, a.max_compute_invocations_per_workgroup
        )?;
        writeln!(out, "     has: {}", has(true))?;
        writeln!(out, "     lacks: {}", has(false))?;
    }
    if adapters.is_empty() {
        writeln!(out, "no GPU adapter found")?;
    }
    Ok(())
}
