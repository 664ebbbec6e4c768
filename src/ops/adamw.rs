//! AdamW: adaptive moments with decoupled weight decay, and the correction of their start at zero.
use super::wgsl::wgsl;
use super::{BLOCK, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Shader = Shader::Plain(wgsl!("adamw"));

/// The two sums of weights: `[1 − β₁^t, 1 − β₂^t]`.
const CORRECTION: TensorDesc = TensorDesc::f32(Shape::channels(2));

/// `[g, lr: 1×1×1×1, correction: 1×1×1×2]`, states `[p, m, v]`; all but `lr` and `correction` have
/// one shape.
///
/// ```text
/// p = p·(1 − lr·weight_decay)
/// m = m + (1 − β₁)·(g − m)
/// v = v + (1 − β₂)·(g² − v)
/// p = p − lr·(m/c₁) / (√(v/c₂) + eps)
/// ```
/// See <https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html>. The averages are
/// written with `1 − β` alone: for β₂ = 0.999 it would keep five digits if taken from an f32 β.
/// An [`AdamWCorrection`] stands before the updates of a step, so that no `c` is 0.
#[derive(Clone, PartialEq, Debug)]
pub struct AdamW {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Keeps the division finite where the gradients vanish; more than 0.
    pub eps: f32,
    /// Decay of the parameters per unit of the learning rate.
    pub weight_decay: f32,
}

/// `[]`, state `[correction: 1×1×1×2]`: one step of `c = β·c + (1 − β)` from `c = 0` for both β,
/// computed as `c + (1 − β)·(1 − c)`.
///
/// After `t` steps `c` is `1 − β^t`, the sum of the weights in the averages of [`AdamW`]. The
/// recurrence has no cancellation while `β^t` is near 1 and needs no count of steps.
#[derive(Clone, PartialEq, Debug)]
pub struct AdamWCorrection {
    /// As in [`AdamW`].
    pub beta1: f64,
    /// As in [`AdamW`].
    pub beta2: f64,
}

impl OpDef for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [g, lr, correction] = arity(inputs)?;
        ensure!(g == TensorDesc::f32(g.shape), "gradient {g} is not f32");
        ensure!(
            lr == TensorDesc::f32(Shape::channels(1)),
            "learning rate {lr} is not one f32"
        );
        ensure!(
            correction == CORRECTION,
            "correction {correction} is not {CORRECTION}"
        );
        Ok(vec![g; 3])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (g, lr, correction) = (inputs[0].f32(), inputs[1].f32()[0], inputs[2].f32());
        let [k1, k2] = complements(self.beta1, self.beta2);
        let decay = 1.0 - lr * self.weight_decay;
        let (step, root) = (lr / correction[0], correction[1].sqrt());
        let [p, m, v] = outputs else {
            unreachable!("three states are inferred");
        };
        p.f32()
            .par_chunks_mut(BLOCK)
            .zip(m.f32().par_chunks_mut(BLOCK))
            .zip(v.f32().par_chunks_mut(BLOCK))
            .zip(g.par_chunks(BLOCK))
            .for_each(|(((p, m), v), g)| {
                for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m += k1 * (g - *m);
                    *v += k2 * (g * g - *v);
                    *p = decay * *p - step * *m / (v.sqrt() / root + self.eps);
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let [k1, k2] = complements(self.beta1, self.beta2);
        let params = [k1, k2, self.eps, self.weight_decay].map(f32::to_bits);
        Launch::elements(SHADER, "step", inputs[0].shape.len(), &params)
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        14 * inputs[0].shape.len() as u64
    }
}

impl OpDef for AdamWCorrection {
    fn name(&self) -> &'static str {
        "adamw_correction"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [] = arity(inputs)?;
        Ok(vec![CORRECTION])
    }

    fn run_cpu(&self, _: CpuContext, _: &[View], outputs: &mut [ViewMut]) {
        let complements = complements(self.beta1, self.beta2);
        for (c, k) in outputs[0].f32().iter_mut().zip(complements) {
            *c += k * (1.0 - *c);
        }
    }

    fn launch(&self, _: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let [k1, k2] = complements(self.beta1, self.beta2);
        // The same uniform block as the step's, of which this uses the second and third word.
        let params = [1, k1.to_bits(), k2.to_bits(), 0, 0].to_vec();
        Launch::new(SHADER, "correction_step", params, 1)
    }
}

/// `1 − β` for both, computed before rounding to f32.
fn complements(beta1: f64, beta2: f64) -> [f32; 2] {
    [(1.0 - beta1) as f32, (1.0 - beta2) as f32]
}
