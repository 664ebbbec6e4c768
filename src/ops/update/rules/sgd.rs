//! Stochastic gradient descent with momentum, Nesterov's variant and weight decay.
use crate::ops::update::formula::{Formula, MAX_TENSORS, Rates, RuleDef};

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
}

static PLAIN: Formula = Formula {
    name: "sgd",
    constants: &[],
    averages: 0,
    states: &[],
    wgsl: "p -= lr * (g + weight_decay * p);",
    flops: 4,
};

static MOMENTUM: Formula = Formula {
    name: "sgd_momentum",
    constants: &["momentum", "nesterov"],
    averages: 0,
    states: &["momentum"],
    wgsl: "
        let d = g + weight_decay * p;
        momentum = params.momentum * momentum + d;
        p -= lr * select(momentum, d + params.momentum * momentum, params.nesterov == 1.0);
    ",
    flops: 6,
};

impl RuleDef for Sgd {
    fn formula(&self) -> &'static Formula {
        if self.momentum > 0.0 {
            &MOMENTUM
        } else {
            &PLAIN
        }
    }

    fn constants(&self) -> Vec<f32> {
        match self.momentum > 0.0 {
            true => vec![self.momentum, f32::from(u8::from(self.nesterov))],
            false => Vec::new(),
        }
    }

    fn step(&self, rates: &Rates, g: &[f32], [p, m, _]: [&mut [f32]; MAX_TENSORS]) {
        let &Rates {
            lr, weight_decay, ..
        } = rates;
        if m.is_empty() {
            for (p, g) in p.iter_mut().zip(g) {
                *p -= lr * (g + weight_decay * *p);
            }
            return;
        }
        for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
            let d = g + weight_decay * *p;
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
