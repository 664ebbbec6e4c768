//! Stochastic gradient descent with momentum, Nesterov's variant and weight decay.
use super::wgsl::wgsl;
use super::{BLOCK, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Shader = Shader::Plain(wgsl!("sgd"));

/// The learning rate, and what the gradients are to be multiplied by: 0 says that there is no update.
pub(super) const STEP: TensorDesc = TensorDesc::f32(Shape::channels(2));

/// `[g, lr: 1×1×1×1]`, states `[p]`, or `[p, m]` where `momentum > 0`; `g`, `p` and `m` have one shape.
/// For lr may stand `[lr, unscale]`, the step of [`super::Rescale`]: `g` is multiplied by `unscale`, and
/// where that is 0 nothing is updated.
///
/// ```text
/// d = g + weight_decay·p
/// m = momentum·m + d
/// p = p − lr·(nesterov ? d + momentum·m : m)      without momentum: p = p − lr·d
/// ```
/// See <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>. There the first `m`
/// is `d` itself; a buffer of zeros gives the same, as there is no dampening.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sgd {
    /// Share of the last step that is kept, from 0 to less than 1.
    pub momentum: f32,
    /// Whether the step looks ahead along the momentum. Without momentum it has no effect.
    pub nesterov: bool,
    /// Factor of the parameters that is added to their gradient.
    pub weight_decay: f32,
}

impl Sgd {
    /// Of the kernels: 1 for Nesterov's momentum, 2 where the learning rate is followed by `unscale`.
    pub(super) fn flags(&self, lr: TensorDesc) -> u32 {
        u32::from(self.nesterov) | if lr == STEP { 2 } else { 0 }
    }

    /// The step of some elements without momentum; `step` is that of the op's second input.
    pub(super) fn step(&self, step: [f32; 2], g: &[f32], p: &mut [f32]) {
        let [lr, unscale] = step;
        for (p, g) in p.iter_mut().zip(g) {
            *p -= lr * (g * unscale + self.weight_decay * *p);
        }
    }

    /// The step of some elements with momentum.
    pub(super) fn step_momentum(&self, step: [f32; 2], g: &[f32], p: &mut [f32], m: &mut [f32]) {
        let [lr, unscale] = step;
        for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
            let d = g * unscale + self.weight_decay * *p;
            *m = self.momentum * *m + d;
            *p -= lr
                * if self.nesterov {
                    d + self.momentum * *m
                } else {
                    *m
                };
        }
    }
}

/// Errs unless it is a learning rate, alone or with `unscale`.
pub(super) fn check_step(lr: TensorDesc) -> Result<()> {
    let alone = TensorDesc::f32(Shape::channels(1));
    ensure!(
        lr == alone || lr == STEP,
        "learning rate {lr} is neither {alone} nor {STEP}"
    );
    Ok(())
}

/// Learning rate and `unscale`; `None` where there is no update.
pub(super) fn step(lr: View) -> Option<[f32; 2]> {
    let lr = lr.f32();
    let unscale = lr.get(1).copied().unwrap_or(1.0);
    (unscale != 0.0).then_some([lr[0], unscale])
}

impl OpDef for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [g, lr] = arity(inputs)?;
        ensure!(g == TensorDesc::f32(g.shape), "gradient {g} is not f32");
        check_step(lr)?;
        let states = if self.momentum > 0.0 { 2 } else { 1 };
        Ok(vec![g; states])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (g, Some(step)) = (inputs[0].f32(), step(inputs[1])) else {
            return;
        };
        match outputs {
            [p] => {
                let blocks = p.f32().par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK));
                blocks.for_each(|(p, g)| self.step(step, g, p));
            }
            [p, m] => {
                let states = p.f32().par_chunks_mut(BLOCK);
                let states = states.zip(m.f32().par_chunks_mut(BLOCK));
                let blocks = states.zip(g.par_chunks(BLOCK));
                blocks.for_each(|((p, m), g)| self.step_momentum(step, g, p, m));
            }
            _ => unreachable!("one or two states are inferred"),
        }
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let entry = if outputs.len() == 2 {
            "step_momentum"
        } else {
            "step"
        };
        let params = [
            self.momentum.to_bits(),
            self.flags(inputs[1]),
            self.weight_decay.to_bits(),
        ];
        Launch::elements(SHADER, entry, inputs[0].shape.len(), &params)
    }
}
