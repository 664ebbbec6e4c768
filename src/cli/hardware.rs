//! The flags that say how a device is used, shared by all commands that run on one.
use crate::backend::cpu::precision::MatmulPrecision;
use crate::backend::gpu::Options;
use crate::backend::{self, Backend, Choice};
use anyhow::Result;
use std::num::NonZeroUsize;

/// How the device is used.
#[derive(clap::Args)]
pub struct Hardware {
    /// Threads of the CPU device; all cores by default. The results do not depend on it.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Keeps wgpu's run-time checks in the GPU kernels: slower, and safe with any driver or kernel.
    #[arg(long)]
    checked: bool,
}

impl Hardware {
    /// Opens the device, with a word on stderr where the choice needs one.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub fn open(&self, choice: &Choice, precision: MatmulPrecision) -> Result<Box<dyn Backend>> {
        let options = Options {
            checked: self.checked,
            ..Options::default()
        };
        let (backend, note) = backend::open(choice, options, self.threads, precision)?;
        if let Some(note) = note {
            eprintln!("{note}");
        }
        Ok(backend)
    }
}
