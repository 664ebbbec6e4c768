//! Cases of optimisers: steps in sequence on the same states, the parameters read after each.
use super::attrs::Attrs;
use super::build::Build;
use crate::graph::{Gradients, TensorId};
use crate::model::{Param, Role};
use crate::ops::{AdamW, Rule, Sgd};
use crate::train::learning_rate;
use crate::train::optim::{self, Controls, ParamGroup};
use crate::verify::{
    layout::Layout,
    replay::{PlanRun, Read, bytes},
};
use anyhow::{Result, ensure};

impl Build<'_> {
    pub(super) fn sgd(self) -> Result<Vec<PlanRun>> {
        let attrs = self.attrs(&["lr", "momentum", "nesterov", "weight_decay", "clip_grad"])?;
        let rule = Sgd {
            momentum: attrs.number_or("momentum", 0.0)? as f32,
            nesterov: attrs.flag("nesterov")?,
        };
        let weight_decay = attrs.number_or("weight_decay", 0.0)? as f32;
        let lr = attrs.number("lr")? as f32;
        let clip = clip(&attrs)?;
        self.follow(rule.into(), weight_decay, lr, clip, &["momentum_buffer"])
    }

    pub(super) fn adamw(self) -> Result<Vec<PlanRun>> {
        let attrs = self.attrs(&["lr", "betas", "eps", "weight_decay", "clip_grad"])?;
        let [beta1, beta2] = attrs.pair("betas")?;
        let rule = AdamW {
            beta1,
            beta2,
            eps: attrs.number_or("eps", 1e-8)? as f32,
        };
        let weight_decay = attrs.number_or("weight_decay", 0.01)? as f32;
        let lr = attrs.number("lr")? as f32;
        let clip = clip(&attrs)?;
        self.follow(
            rule.into(),
            weight_decay,
            lr,
            clip,
            &["exp_avg", "exp_avg_sq"],
        )
    }

    /// Steps of the rule; PyTorch calls its states `torch`, in their order.
    fn follow(
        mut self,
        rule: Rule,
        weight_decay: f32,
        rate: f32,
        clip: Option<f32>,
        torch: &[&str],
    ) -> Result<Vec<PlanRun>> {
        let lr = learning_rate(self.g);
        self.run.writes.push((lr, bytes(&[rate])));
        let (p, g, gradients) = self.parameters()?;
        let group = ParamGroup {
            params: vec![Param {
                name: "p".to_string(),
                tensor: p,
                shape: self.g.shape(p),
                role: Role::LinearWeight,
            }],
            lr_scale: 1.0,
            weight_decay,
        };
        let controls = Controls {
            lr,
            scaling: None,
            clip,
        };
        let of_p = Gradients::from([(p, g)]);
        let state = optim::append(self.g, rule, &[group], &of_p, controls)?;
        for (_, t) in &state {
            let zeros = vec![0; self.g.desc(*t).bytes()];
            self.run.writes.push((*t, zeros));
        }
        let of_p = state.iter().filter(|(name, _)| name.ends_with(".p"));
        let at_end = of_p
            .zip(torch)
            .map(|((_, t), torch)| Read::new(format!("state_{torch}"), *t, Layout::Flat));
        let at_end = at_end.collect();
        Ok(self.steps(p, g, &gradients, at_end))
    }

    /// The parameters, their gradient's input, and the gradients of all steps one after another.
    fn parameters(&mut self) -> Result<(TensorId, TensorId, Vec<f32>)> {
        let p = self.state("p", Layout::Flat)?;
        let desc = self.g.desc(p);
        let g = self.g.input("g", desc);
        let gradients = self.tensors.f32(&self.full("g"))?.data;
        ensure!(
            gradients.len() % desc.shape.len() == 0,
            "g is not a whole number of gradients of p"
        );
        Ok((p, g, gradients))
    }

    /// One run per step on the same states, the parameters `p_1`, `p_2`, … read after each.
    fn steps(self, p: TensorId, g: TensorId, gradients: &[f32], at_end: Vec<Read>) -> Vec<PlanRun> {
        let size = self.g.shape(p).len();
        let mut first_writes = self.run.writes;
        let mut runs: Vec<PlanRun> = gradients
            .chunks_exact(size)
            .enumerate()
            .map(|(step, gradient)| {
                let mut writes = std::mem::take(&mut first_writes);
                writes.push((g, bytes(gradient)));
                let reads = vec![Read::new(format!("p_{}", step + 1), p, Layout::Flat)];
                PlanRun { writes, reads }
            })
            .collect();
        if let Some(last) = runs.last_mut() {
            last.reads.extend(at_end);
        }
        runs
    }
}

/// The longest norm of the gradient, if it is clipped.
fn clip(attrs: &Attrs) -> Result<Option<f32>> {
    let norm = attrs.number_or("clip_grad", f64::INFINITY)?;
    Ok(norm.is_finite().then_some(norm as f32))
}
