//! Which vector instructions the kernels use: the best that the processor has, or what `RESNET_CPU_ISA` names.
use anyhow::{Context, Result, bail};
use fearless_simd::{Level, dispatch, prelude::*};
use std::sync::OnceLock;

/// The environment variable that forces an instruction set.
pub const VARIABLE: &str = "RESNET_CPU_ISA";

/// Decided once: every kernel of a process computes alike.
static LEVEL: OnceLock<Level> = OnceLock::new();

/// Reads the environment and decides, if nothing has yet.
///
/// # Errors
/// When the variable names no instruction set, or one that the processor lacks.
pub fn choose() -> Result<()> {
    let best = Level::new();
    let level = match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("") => best,
        Ok(name) => {
            let named = match name {
                "avx512" => avx512(best),
                "avx2" => avx2(best),
                "neon" => neon(best),
                "scalar" => Some(Level::baseline()),
                _ => bail!("{VARIABLE}={name} is none of avx512, avx2, neon and scalar"),
            };
            named.with_context(|| {
                format!("{VARIABLE}={name}: this processor has no {name}; unset it to use the best it has")
            })?
        }
    };
    LEVEL.get_or_init(|| level);
    Ok(())
}

/// What the kernels use.
pub fn level() -> Level {
    *LEVEL.get_or_init(Level::new)
}

/// The name of what the kernels use, as the environment variable takes it.
pub fn name() -> &'static str {
    let level = level();
    if avx512(level).is_some() {
        "avx512"
    } else if avx2(level).is_some() {
        "avx2"
    } else if neon(level).is_some() {
        "neon"
    } else {
        "scalar"
    }
}

/// Compiles `work` once for each instruction set and runs the one that is used, so that plain loops in it become
/// vector code.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    dispatch!(level(), s => s.vectorize(work))
}

#[cfg(target_arch = "x86_64")]
fn avx512(level: Level) -> Option<Level> {
    Some(level.as_avx512()?.level())
}

#[cfg(target_arch = "x86_64")]
fn avx2(level: Level) -> Option<Level> {
    Some(level.as_avx2()?.level())
}

#[cfg(not(target_arch = "x86_64"))]
fn avx512(_: Level) -> Option<Level> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn avx2(_: Level) -> Option<Level> {
    None
}

#[cfg(target_arch = "aarch64")]
fn neon(level: Level) -> Option<Level> {
    Some(level.as_neon()?.level())
}

#[cfg(not(target_arch = "aarch64"))]
fn neon(_: Level) -> Option<Level> {
    None
}
