//! How exactly the CPU multiplies matrices, in the terms of `torch.set_float32_matmul_precision`, and which of its
//! units multiplies bfloat16 numbers.
use super::detect;
use super::simd;
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The environment variable that forces the unit for products of bfloat16 numbers.
pub const VARIABLE: &str = "RESNET_CPU_BF16";

/// What `--matmul-precision` asks for. Sums are f32 in all three.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MatmulPrecision {
    /// Factors are f32.
    #[default]
    Highest,
    /// Each factor is the sum of two bfloat16 numbers, and their product is three products of bfloat16 pairs: about
    /// 16 bits of mantissa.
    High,
    /// Factors are rounded to bfloat16: 8 bits of mantissa.
    Medium,
}

/// A unit that multiplies bfloat16 numbers and adds in f32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unit {
    /// Intel's tiles, 1024 multiply-adds per instruction and cycle.
    Amx,
    /// AVX-512's dot products of pairs: twice the rate of its f32 multiply-adds.
    Avx512,
    /// Plain code, for checking the others.
    Scalar,
}

/// How a matrix is multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Matmul {
    /// In f32.
    #[default]
    F32,
    /// In bfloat16, each factor as a sum of so many terms: one or two.
    Bf16 {
        /// Terms of a factor.
        terms: usize,
        /// What multiplies.
        unit: Unit,
    },
}

/// How kernels are to compute, where their tensors leave a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuContext {
    /// How matrices are multiplied.
    pub matmul: Matmul,
    /// Images of the whole batch, where the kernel gets a part of it: the part is to have the batch's bits.
    pub batch: Option<usize>,
}

impl Matmul {
    /// What a precision means on this machine, with a line for the user where it is not what was asked for. It is
    /// never less exact than that.
    ///
    /// # Errors
    /// When the environment names a unit that is not there.
    pub fn choose(precision: MatmulPrecision) -> Result<(Matmul, Option<String>)> {
        let forced = forced()?;
        let (terms, unit) = match precision {
            MatmulPrecision::Highest => return Ok((Matmul::F32, None)),
            // Three products at AVX-512's rate take longer than one in f32.
            MatmulPrecision::High => (2, forced.or(Unit::Amx.if_there())),
            MatmulPrecision::Medium => {
                let best = Unit::Amx.if_there().or(Unit::Avx512.if_there());
                (1, forced.or(best))
            }
        };
        let Some(unit) = unit else {
            let (name, wants) = match precision {
                MatmulPrecision::High => ("high", "AMX"),
                _ => ("medium", "AMX or AVX-512 BF16"),
            };
            let note = format!(
                "--matmul-precision {name}: this processor has no {wants}, so products are f32, as with highest"
            );
            return Ok((Matmul::F32, Some(note)));
        };
        Ok((Matmul::Bf16 { terms, unit }, None))
    }

    /// Numbers that stand for one factor.
    pub fn terms(self) -> usize {
        match self {
            Matmul::F32 => 1,
            Matmul::Bf16 { terms, .. } => terms,
        }
    }

    /// The relative error by which a factor is rounded, as a root mean square: 2⁻⁹ with every term, whose mantissa has 8
    /// bits (2⁻⁹·²³ over normally distributed numbers, and 2⁻⁸ at most).
    pub fn factor_error(self) -> f64 {
        match self {
            Matmul::F32 => 0.0,
            Matmul::Bf16 { terms, .. } => 0.5_f64.powi(9 * terms as i32),
        }
    }

    /// A name for people, where it is not f32.
    pub fn name(self) -> Option<String> {
        let Matmul::Bf16 { terms, unit } = self else {
            return None;
        };
        let kind = if terms == 2 { "bf16x3" } else { "bf16" };
        let unit = match unit {
            Unit::Amx => "AMX",
            Unit::Avx512 => "AVX-512",
            Unit::Scalar => "scalar code",
        };
        Some(format!("{kind} by {unit}"))
    }
}

impl Unit {
    /// The unit, where this machine has it and no other instruction set was asked for.
    pub fn if_there(self) -> Option<Unit> {
        let there = match self {
            // What fills no tile is left to AVX-512, which every processor with AMX has.
            Unit::Amx => Unit::Avx512.if_there().is_some() && detect::amx(),
            Unit::Avx512 => simd::name() == "avx512" && detect::avx512_bf16(),
            Unit::Scalar => true,
        };
        there.then_some(self)
    }
}

/// The unit that the environment names.
fn forced() -> Result<Option<Unit>> {
    let (name, unit) = match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("") => return Ok(None),
        Ok("amx") => ("AMX", Unit::Amx),
        Ok("avx512") => ("AVX-512 BF16", Unit::Avx512),
        Ok("scalar") => ("plain code", Unit::Scalar),
        Ok(other) => bail!("{VARIABLE}={other} is none of amx, avx512 and scalar"),
    };
    ensure!(
        unit.if_there().is_some(),
        "{VARIABLE}: this processor has no {name}, or {} forbids it; unset it to use the best there is",
        simd::VARIABLE
    );
    Ok(Some(unit))
}
