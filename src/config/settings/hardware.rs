//! The settings of the device.
use super::on_resume::ON_RESUME;
use crate::config::range::{named, threads};
use crate::kernels::precision::MatmulPrecision;
use crate::tensor::DType;
use clap::ArgAction;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// What activations and their gradients are stored as. Arithmetic, sums, parameters and their gradients are
/// f32 in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, with a scaled loss: half the memory and traffic.
    F16,
    /// bfloat16, on the CPU: half the memory and traffic too, at fewer digits, in f32's range.
    Bf16,
}

impl Precision {
    /// The type of the stored elements.
    pub fn stored(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::Bf16,
        }
    }
}

/// Which device is used, and how.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Device")]
pub struct Hardware {
    /// auto, cpu, gpu, the number of an adapter or a part of its name.
    #[arg(long, default_value = "auto", value_parser = named, group = ON_RESUME)]
    pub device: String,
    /// Threads of the CPU device [default: all cores]. The results do not depend on it.
    #[arg(long, value_name = "N", value_parser = threads, group = ON_RESUME)]
    pub threads: Option<NonZeroUsize>,
    /// What activations and their gradients are stored as. f16 halves memory and traffic where the adapter has
    /// shader-f16, bf16 does so on the CPU.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Precision,
    /// How exactly matrices are multiplied, as in PyTorch. highest: f32. high: about 16 bits of mantissa, by AMX.
    /// medium: 8 bits, by AMX or AVX-512, or 11 by a GPU's cooperative matrices with --precision f16. A device without
    /// these units computes in f32 and says so.
    #[arg(long, value_enum, default_value = "highest")]
    pub matmul_precision: MatmulPrecision,
    /// Turns fusion off: the reference for the fused steps.
    #[arg(long = "no-fuse", action = ArgAction::SetFalse)]
    pub fuse: bool,
    /// Turns autotuning off: the shapes alone choose the kernels, so that results do not depend on what was fastest.
    #[arg(long)]
    pub deterministic: bool,
    /// Keeps wgpu's run-time checks in the GPU kernels: slower, and safe with any driver. OpenGL has none.
    #[arg(long, group = ON_RESUME)]
    pub checked: bool,
}
