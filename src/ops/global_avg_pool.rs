//! The mean over height and width of every channel, and its gradient.
use super::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, Shape, TensorDesc, TensorId};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Shader = Shader::Plain("global_avg_pool");

/// `[x: n × h × w × c] → [y: n × 1 × 1 × c]`.
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalAvgPool;

/// `[dy] → [dx]`: `dy / (h·w)` for every pixel.
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalAvgPoolGrad {
    /// Dimensions of the forward's input.
    pub x: Shape,
}

impl Graph {
    /// The mean of each channel of each image.
    ///
    /// # Errors
    /// Never for an f32 tensor.
    pub fn global_avg_pool(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(GlobalAvgPool, &[x])
    }
}

impl OpDef for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x] = arity(inputs)?;
        Ok(vec![TensorDesc::f32(Shape([
            x.shape.n(),
            1,
            1,
            x.shape.c(),
        ]))])
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let grad = GlobalAvgPoolGrad {
            x: g.shape(node.inputs[0]),
        };
        Ok(vec![Some(g.push1(grad, &[dy])?)])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = inputs[0].shape();
        let images = inputs[0].f32().par_chunks(h * w * c);
        outputs[0]
            .f32()
            .par_chunks_mut(c)
            .zip(images)
            .for_each(|(y, x)| {
                y.fill(0.0);
                for row in x.chunks_exact(c) {
                    for (y, x) in y.iter_mut().zip(row) {
                        *y += x;
                    }
                }
                y.iter_mut().for_each(|y| *y /= (h * w) as f32);
            });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let Shape([_, h, w, c]) = inputs[0].shape;
        Launch::elements(
            SHADER,
            "forward",
            outputs[0].shape.len(),
            &[(h * w) as u32, c as u32],
        )
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].shape.len() as u64
    }
}

impl OpDef for GlobalAvgPoolGrad {
    fn name(&self) -> &'static str {
        "global_avg_pool_grad"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [dy] = arity(inputs)?;
        let want = Shape([self.x.n(), 1, 1, self.x.c()]);
        ensure!(dy.shape == want, "gradient {dy} is not {want}");
        Ok(vec![TensorDesc::f32(self.x)])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = self.x;
        let dy = inputs[0].f32().par_chunks(c);
        outputs[0]
            .f32()
            .par_chunks_mut(h * w * c)
            .zip(dy)
            .for_each(|(dx, dy)| {
                let (first, rest) = dx.split_at_mut(c);
                for (dx, dy) in first.iter_mut().zip(dy) {
                    *dx = dy / (h * w) as f32;
                }
                rest.chunks_exact_mut(c)
                    .for_each(|row| row.copy_from_slice(first));
            });
    }

    fn launch(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let Shape([_, h, w, c]) = outputs[0].shape;
        Launch::elements(
            SHADER,
            "grad_input",
            outputs[0].shape.len(),
            &[(h * w) as u32, c as u32],
        )
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1], &[1])
    }
}
