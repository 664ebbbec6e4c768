//! Opens the device that the settings name.
use crate::backend::gpu::Options;
use crate::backend::{self, Backend, Choice};
use crate::config::{Hardware, Precision, Usage};
use crate::process;
use anyhow::{Result, ensure};

/// Opens a device that can store what is asked for, with a word on stderr where the choice needs one.
///
/// # Errors
/// When it is not there, cannot be opened, or cannot store what is asked for.
pub fn open(hardware: &Hardware) -> Result<Box<dyn Backend>> {
    let options = Options {
        checked: hardware.checked,
        ..Options::default()
    };
    let choice: Choice = hardware.device.parse()?;
    let (matmul, stored) = (hardware.matmul_precision, hardware.precision.stored());
    let (backend, note) = backend::open(&choice, options, hardware.threads, matmul, stored)?;
    if let Some(note) = note {
        process::say(note);
    }
    match hardware.precision {
        Precision::F32 => {}
        Precision::F16 => ensure!(
            backend.stores_f16(),
            "--precision f16: {} has no shader-f16; take --precision f32, or another --device: \
             `{}` shows which have it",
            backend.device(),
            process::command("devices")
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

/// Refuses to plan for a GPU what it cannot store; `flag` is what asked for the plan.
///
/// # Errors
/// For bfloat16.
pub fn check_shaders(flag: &str, precision: Precision) -> Result<()> {
    match precision {
        Precision::Bf16 => Err(Usage::error(format!(
            "{flag}: a GPU's shaders are in WGSL, which has no bfloat16; take --precision f16 in the place of bf16"
        ))),
        _ => Ok(()),
    }
}
