//! Cases of optimisers: steps in sequence on the same states, the parameters read after each.
use super::build::Build;
use crate::graph::TensorId;
use crate::ops::{AdamW, AdamWCorrection, Sgd};
use crate::tensor::{Shape, TensorDesc};
use crate::verify::{
    layout::Layout,
    replay::{Read, Run, bytes},
};
use anyhow::{Result, ensure};

impl Build<'_> {
    pub(super) fn sgd(mut self) -> Result<Vec<Run>> {
        let attrs = self.attrs(&["lr", "momentum", "nesterov", "weight_decay"])?;
        let op = Sgd {
            momentum: attrs.number_or("momentum", 0.0)? as f32,
            nesterov: attrs.flag("nesterov")?,
            weight_decay: attrs.number_or("weight_decay", 0.0)? as f32,
        };
        let lr = attrs.number("lr")? as f32;
        let lr = self.scalar("lr", lr);
        let (p, g, gradients) = self.parameters()?;
        let mut states = vec![p];
        let mut at_end = Vec::new();
        if op.momentum > 0.0 {
            let m = self.zeros("momentum_buffer", p);
            states.push(m);
            at_end.push(Read::new("state_momentum_buffer", m, Layout::Flat));
        }
        self.g.push_update(op, &[g, lr], &states)?;
        Ok(self.steps(p, g, &gradients, at_end))
    }

    pub(super) fn adamw(mut self) -> Result<Vec<Run>> {
        let attrs = self.attrs(&["lr", "betas", "eps", "weight_decay"])?;
        let [beta1, beta2] = attrs.pair("betas")?;
        let op = AdamW {
            beta1,
            beta2,
            eps: attrs.number_or("eps", 1e-8)? as f32,
            weight_decay: attrs.number_or("weight_decay", 0.01)? as f32,
        };
        let lr = attrs.number("lr")? as f32;
        let lr = self.scalar("lr", lr);
        let (p, g, gradients) = self.parameters()?;
        let m = self.zeros("exp_avg", p);
        let v = self.zeros("exp_avg_sq", p);
        let desc = TensorDesc::f32(Shape::channels(2));
        let correction = self.g.state("correction", desc);
        self.run.writes.push((correction, bytes(&[0.0_f32; 2])));
        let advance = AdamWCorrection { beta1, beta2 };
        self.g.push_update(advance, &[], &[correction])?;
        self.g.push_update(op, &[g, lr, correction], &[p, m, v])?;
        let at_end = vec![
            Read::new("state_exp_avg", m, Layout::Flat),
            Read::new("state_exp_avg_sq", v, Layout::Flat),
        ];
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
    fn steps(self, p: TensorId, g: TensorId, gradients: &[f32], at_end: Vec<Read>) -> Vec<Run> {
        let size = self.g.shape(p).len();
        let mut first_writes = self.run.writes;
        let mut runs: Vec<Run> = gradients
            .chunks_exact(size)
            .enumerate()
            .map(|(step, gradient)| {
                let mut writes = std::mem::take(&mut first_writes);
                writes.push((g, bytes(gradient)));
                let reads = vec![Read::new(format!("p_{}", step + 1), p, Layout::Flat)];
                Run { writes, reads }
            })
            .collect();
        if let Some(last) = runs.last_mut() {
            last.reads.extend(at_end);
        }
        runs
    }

    /// An input of one number.
    fn scalar(&mut self, name: &str, value: f32) -> TensorId {
        let desc = TensorDesc::f32(Shape::channels(1));
        let id = self.g.input(name, desc);
        self.run.writes.push((id, bytes(&[value])));
        id
    }

    /// A state of zeros, shaped like another tensor.
    fn zeros(&mut self, name: &str, like: TensorId) -> TensorId {
        let desc = self.g.desc(like);
        let id = self.g.state(name, desc);
        self.run.writes.push((id, vec![0; desc.bytes()]));
        id
    }
}
