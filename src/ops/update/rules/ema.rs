//! The exponential moving average of the weights: a rule that moves the average and takes the weights for gradients.
use crate::ops::update::formula::{Formula, MAX_TENSORS, Rates, RuleDef};

/// ```text
/// p = p + (1 − decay)/c·(g − p)
/// ```
/// where `p` is the average and `g` are the weights. With `c = 1 − decay^t` after `t` steps it is the mean of all
/// weights so far, those of `s` steps ago counting `decay^s`: the first average is the first weights. That is Adam's
/// correction of the start at zero (<https://arxiv.org/abs/1412.6980>, section 3), applied as the average moves, so
/// that it can be read at any time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ema {
    /// What the average keeps of itself in a step, from 0 to less than 1.
    pub decay: f64,
}

static FORMULA: Formula = Formula {
    name: "ema",
    constants: &["k"],
    averages: 1,
    states: &[],
    wgsl: "p += params.k / correction[0] * (g - p);",
    flops: 3,
};

impl RuleDef for Ema {
    fn formula(&self) -> &'static Formula {
        &FORMULA
    }

    fn constants(&self) -> Vec<f32> {
        vec![(1.0 - self.decay) as f32]
    }

    fn step(&self, rates: &Rates, g: &[f32], [p, ..]: [&mut [f32]; MAX_TENSORS]) {
        let k = (1.0 - self.decay) as f32 / rates.correction[0];
        for (p, g) in p.iter_mut().zip(g) {
            *p += k * (g - *p);
        }
    }
}
