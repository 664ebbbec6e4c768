//! AdamW: adaptive moments with decoupled weight decay, and the correction of their start at zero.
use crate::ops::update::formula::{Formula, MAX_TENSORS, Rates, RuleDef};

/// ```text
/// m = m + (1 − β₁)·(g − m)
/// v = v + (1 − β₂)·(g² − v)
/// p = p·(1 − lr·weight_decay) − lr·(m/c₁) / (√(v/c₂) + eps)
/// ```
/// with the corrections `c = 1 − β^t` after `t` steps. See
/// <https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html>. The averages are written with `1 − β`
/// alone: for β₂ = 0.999 it would keep five digits if taken from an f32 β.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// Decay of the mean of the gradients, from 0 to less than 1.
    pub beta1: f64,
    /// Decay of the mean of their squares, from 0 to less than 1.
    pub beta2: f64,
    /// Keeps the division finite where the gradients vanish; more than 0.
    pub eps: f32,
}

static FORMULA: Formula = Formula {
    name: "adamw",
    constants: &["k1", "k2", "eps"],
    averages: 2,
    states: &["exp_avg", "exp_avg_sq"],
    wgsl: "
        exp_avg += params.k1 * (g - exp_avg);
        exp_avg_sq += params.k2 * (g * g - exp_avg_sq);
        let size = lr / correction[0];
        let deviation = sqrt(exp_avg_sq) / sqrt(correction[1]);
        p = (1.0 - lr * weight_decay) * p - size * exp_avg / (deviation + params.eps);
    ",
    flops: 14,
};

impl RuleDef for AdamW {
    fn formula(&self) -> &'static Formula {
        &FORMULA
    }

    fn constants(&self) -> Vec<f32> {
        vec![
            (1.0 - self.beta1) as f32,
            (1.0 - self.beta2) as f32,
            self.eps,
        ]
    }

    fn step(&self, rates: &Rates, g: &[f32], [p, m, v]: [&mut [f32]; MAX_TENSORS]) {
        let [k1, k2] = [self.beta1, self.beta2].map(|beta| (1.0 - beta) as f32);
        let decay = 1.0 - rates.lr * rates.weight_decay;
        let size = rates.lr / rates.correction[0];
        let root = rates.correction[1].sqrt();
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            *m += k1 * (g - *m);
            *v += k2 * (g * g - *v);
            *p = decay * *p - size * *m / (v.sqrt() / root + self.eps);
        }
    }
}
