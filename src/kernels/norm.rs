//! What BatchNorm comes to for each channel, as the kernels read it, and the moments it is made from.
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// Rows of the moments of a block of pixels, one number per channel each: the count of pixels, a pivot, the distance
/// of the mean from it, and the sum of squared distances from the mean (M2). A value near the mean is the pivot. Its
/// distance to another block's is exact or nearly so, while means rounded to f32 would lose what small spreads need.
pub const MOMENTS: usize = 4;

/// The rows of a `norm`, one number per channel each.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// gamma·rstd.
    pub scale: &'a [f32],
    /// beta − mean·scale.
    pub shift: &'a [f32],
    /// Mean.
    pub mean: &'a [f32],
    /// 1/√(var + eps).
    pub rstd: &'a [f32],
}

impl<'a> Norm<'a> {
    /// Takes the rows of a `norm` apart, `[4, c]`.
    pub fn of(rows: &'a [f32]) -> Norm<'a> {
        let c = rows.len() / 4;
        Norm {
            scale: &rows[..c],
            shift: &rows[c..2 * c],
            mean: &rows[2 * c..3 * c],
            rstd: &rows[3 * c..],
        }
    }

    /// `max(x·scale + shift, 0)` of channels `first..`; a NaN stays one.
    #[inline(always)]
    pub fn activate(&self, x: &mut [f32], first: usize) {
        let channels = first..first + x.len();
        let (scale, shift) = (&self.scale[channels.clone()], &self.shift[channels]);
        for ((x, scale), shift) in x.iter_mut().zip(scale).zip(shift) {
            let z = *x * scale + shift;
            // Unlike `max`, the comparison lets a NaN through.
            *x = if z < 0.0 { 0.0 } else { z };
        }
    }

    /// The description of the norm of a tensor with `c` channels.
    pub const fn desc(c: usize) -> TensorDesc {
        TensorDesc::f32(Shape([1, 1, 4, c]))
    }

    /// Checks that `norm` is one of `x`'s channels.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(norm: TensorDesc, x: TensorDesc) -> Result<()> {
        let want = Norm::desc(x.shape.c());
        ensure!(norm == want, "{x} is normalised by {want}, not by {norm}");
        Ok(())
    }
}
