//! The flags that say how a device is used, shared by all commands that run on one.
use crate::backend::gpu::Options;
use crate::backend::{self, Backend, Choice};
use crate::config::Precision;
use crate::kernels::precision::MatmulPrecision;
use anyhow::{Result, ensure};
use std::num::NonZeroUsize;

/// How the device is used.
#[derive(clap::Args)]
pub struct Hardware {
    /// Threads of the CPU device; all cores by default. The results do not depend on it.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Keeps wgpu's run-time checks in the GPU kernels: slower, and safe with any driver or kernel. OpenGL has none.
    #[arg(long)]
    checked: bool,
}

impl Hardware {
    /// Opens a device that can store what is asked for, with a word on stderr where the choice needs one.
    ///
    /// # Errors
    /// When it is not there, cannot be opened, or cannot store what is asked for.
    pub fn open(
        &self,
        choice: &Choice,
        matmul: MatmulPrecision,
        precision: Precision,
    ) -> Result<Box<dyn Backend>> {
        let options = Options {
            checked: self.checked,
            ..Options::default()
        };
        let stored = precision.stored();
        let (backend, note) = backend::open(choice, options, self.threads, matmul, stored)?;
        if let Some(note) = note {
            eprintln!("{note}");
        }
        match precision {
            Precision::F32 => {}
            Precision::F16 => ensure!(
                backend.stores_f16(),
                "--precision f16: {} has no shader-f16; take --precision f32, or another --device: \
                 `resnet devices` shows which have it",
                backend.device()
            ),
            // Where `auto` means a GPU it is refused too: the CPU in its place would be slower than f16 there.
            Precision::Bf16 => ensure!(
                backend.stores_bf16(),
                "--precision bf16: {} runs shaders in WGSL, which has no bfloat16; take --precision f16, which \
                 stores as few bytes, or --device cpu",
                backend.device()
            ),
        }
        Ok(backend)
    }
}

/// Refuses to plan for a GPU what it cannot store; `flag` is what asked for the plan.
///
/// # Errors
/// For bfloat16.
pub fn check_shaders(flag: &str, precision: Precision) -> Result<()> {
    ensure!(
        precision != Precision::Bf16,
        "{flag}: a GPU's shaders are in WGSL, which has no bfloat16; take --precision f16 in the place of bf16"
    );
    Ok(())
}
