//! BatchNorm, the sum with a shortcut, and ReLU in one pass.
use crate::kernels::CpuContext;
use crate::kernels::Norm;
use crate::ops::rows::map_rows;
use crate::ops::wgsl::wgsl;
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut};
use crate::tensor::TensorDesc;
use anyhow::{Result, ensure};

/// `[x, norm, (skip), (skip_norm)] → [y]`: `y = max(x·scale + shift + s, 0)`, where `s` is made from
/// `skip` as [`Skip`] says.
#[derive(Clone, PartialEq, Debug)]
pub struct Activate {
    /// What is added before ReLU.
    pub skip: Skip,
}

/// What a shortcut adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skip {
    /// Nothing; there is no `skip`.
    None,
    /// `skip` as it is.
    Plain,
    /// `skip·scale + shift` with the norm `skip_norm`.
    Norm,
    /// `max(skip·scale + shift, 0)` with the norm `skip_norm`.
    Activation,
}

impl Skip {
    /// Inputs that the shortcut takes.
    fn inputs(self) -> usize {
        match self {
            Skip::None => 0,
            Skip::Plain => 1,
            Skip::Norm | Skip::Activation => 2,
        }
    }
}

/// `max(z, 0)`, except that the comparison lets a NaN through, so that it is noticed.
#[inline(always)]
fn relu(z: f32) -> f32 {
    if z < 0.0 { 0.0 } else { z }
}

impl OpDef for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let count = 2 + self.skip.inputs();
        ensure!(
            inputs.len() == count,
            "takes {count} inputs, not {}",
            inputs.len()
        );
        let x = inputs[0];
        for norm in inputs.iter().skip(1).step_by(2) {
            Norm::check(*norm, x)?;
        }
        for skip in inputs.iter().skip(2).step_by(2) {
            ensure!(x == *skip, "{x} and shortcut {skip} differ");
        }
        Ok(vec![x])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let c = inputs[0].shape().c();
        let Norm { scale, shift, .. } = Norm::of(inputs[1].f32());
        let skip_norm = inputs.get(3).map(|norm| Norm::of(norm.f32()));
        let read = [Some(&inputs[0]), inputs.get(2)];
        map_rows(
            &mut outputs[0],
            read,
            #[inline(always)]
            |y, [x, skip]| {
                // Slices of a known length: no bounds check is left to stand in the way of SIMD.
                let (scale, shift) = (&scale[..c], &shift[..c]);
                let rows = y.chunks_exact_mut(c).zip(x.chunks_exact(c));
                for (row, (y, x)) in rows.enumerate() {
                    let skip = skip.get(row * c..(row + 1) * c);
                    match (skip, skip_norm) {
                        (None, _) => {
                            for ch in 0..c {
                                y[ch] = relu(x[ch] * scale[ch] + shift[ch]);
                            }
                        }
                        (Some(skip), None) => {
                            for ch in 0..c {
                                y[ch] = relu(x[ch] * scale[ch] + shift[ch] + skip[ch]);
                            }
                        }
                        (Some(skip), Some(norm)) => {
                            let rectified = self.skip == Skip::Activation;
                            let (skip_scale, skip_shift) = (&norm.scale[..c], &norm.shift[..c]);
                            for ch in 0..c {
                                let s = skip[ch] * skip_scale[ch] + skip_shift[ch];
                                let s = if rectified { relu(s) } else { s };
                                y[ch] = relu(x[ch] * scale[ch] + shift[ch] + s);
                            }
                        }
                    }
                }
            },
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let x = inputs[0].shape;
        let (shader, width) = Shader::lanes(wgsl!("activate"), inputs[0]);
        let entry = match self.skip {
            Skip::None => "activate",
            Skip::Plain => "activate_add",
            Skip::Norm | Skip::Activation => "activate_add_norm",
        };
        let rectified = u32::from(self.skip == Skip::Activation);
        let params = [(x.c() / width) as u32, rectified];
        Launch::elements(shader, entry, x.len() / width, &params)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let rows = [1, 0, 1, 0];
        Batched::images(inputs[0].shape.n(), &rows[..inputs.len()], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        (inputs.len() + 1) as u64 * outputs[0].shape.len() as u64
    }
}
