//! BatchNorm's four numbers per channel, as the kernels read them.

/// The rows of a tensor `[1, 1, 4, c]`: BatchNorm makes `x·scale + shift` of x, and `(x − mean)·rstd` is x̂.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// gamma·rstd.
    pub scale: &'a [f32],
    /// beta − mean·scale.
    pub shift: &'a [f32],
    /// Of the batch, or the running one.
    pub mean: &'a [f32],
    /// 1/√(var + eps).
    pub rstd: &'a [f32],
}

impl<'a> Norm<'a> {
    /// The rows of the tensor.
    pub fn new(norm: &'a [f32]) -> Norm<'a> {
        let c = norm.len() / 4;
        let row = |i: usize| &norm[i * c..(i + 1) * c];
        Norm {
            scale: row(0),
            shift: row(1),
            mean: row(2),
            rstd: row(3),
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
}
