//! What the operating system tells about this machine and this process.
use anyhow::{Context, Result};
use sysinfo::{CpuRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

/// The processor's name, or its architecture where the system does not tell.
pub fn processor() -> Result<String> {
    let mut system = System::new().context("asking the system for its processor")?;
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    let brand = system
        .cpus()
        .first()
        .map(|cpu| cpu.brand().trim().to_string());
    Ok(brand
        .filter(|b| !b.is_empty())
        .unwrap_or_else(|| std::env::consts::ARCH.to_string()))
}

/// Bytes of memory that can still be taken without swapping.
pub fn available_memory() -> Result<u64> {
    let mut system = System::new().context("asking the system for its memory")?;
    system.refresh_memory();
    Ok(system.available_memory())
}

/// Bytes of memory that this process occupies now.
pub fn process_memory() -> Result<u64> {
    let mut system = System::new().context("asking the system for this process's memory")?;
    let pid = sysinfo::get_current_pid().map_err(anyhow::Error::msg)?;
    let refresh = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, refresh);
    Ok(system
        .process(pid)
        .context("the system does not list this process")?
        .memory())
}
