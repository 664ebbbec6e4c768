//! The normalisation itself, the same for training and evaluation.
use super::reduction::{MAX_BLOCKS, SHADER_APPLY, per_channel};
use super::{BatchNormGradInput, BatchNormGradPartials, BatchNormGradSum};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::kernels::Norm;
use crate::ops::rows::map_rows;
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::TensorDesc;
use anyhow::Result;

/// `[x, norm, gamma, beta] → [y]`: `y = (x − mean)·rstd·gamma + beta`.
///
/// With `training` the norm is a function of `x`, and the gradient that this op gives for `x` is the
/// total one, the path through mean and variance included; the norm gets none of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormApply {
    /// Whether the moments are those of `x`.
    pub training: bool,
}

impl OpDef for BatchNormApply {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x, norm, gamma, beta] = arity(inputs)?;
        Norm::check(norm, x)?;
        per_channel(x, &[gamma, beta])?;
        Ok(vec![x])
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let ([x, norm, _, _], Some(dy)) = (<[TensorId; 4]>::try_from(&node.inputs[..])?, dy[0])
        else {
            return Ok(vec![None; 4]);
        };
        let shape = g.shape(x);
        let images_per_block = shape.n().div_ceil(MAX_BLOCKS);
        let partials = BatchNormGradPartials { images_per_block };
        let partials = g.push1(partials, &[x, dy, norm])?;
        let sums = g.push(BatchNormGradSum, &[partials])?;
        let (dbeta, dgamma) = (sums[0], sums[1]);
        let grad_input = BatchNormGradInput {
            training: self.training,
            count: shape.rows(),
            add: false,
        };
        let dx = g.push1(grad_input, &[x, dy, norm, dbeta, dgamma])?;
        Ok(vec![Some(dx), None, Some(dgamma), Some(dbeta)])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, norm, gamma, beta] = inputs else {
            unreachable!("four inputs")
        };
        let c = x.shape().c();
        let (Norm { mean, rstd, .. }, beta) = (Norm::of(norm.f32()), beta.f32());
        let scale: Vec<f32> = rstd.iter().zip(gamma.f32()).map(|(r, g)| r * g).collect();
        map_rows(
            &mut outputs[0],
            [Some(x)],
            #[inline(always)]
            |y, [x]| {
                // Slices of a known length: no bounds check is left to stand in the way of SIMD.
                let (mean, scale, beta) = (&mean[..c], &scale[..c], &beta[..c]);
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for ch in 0..c {
                        y[ch] = (x[ch] - mean[ch]) * scale[ch] + beta[ch];
                    }
                }
            },
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let x = inputs[0].shape;
        let (shader, width) = Shader::lanes(SHADER_APPLY, inputs[0]);
        let params = [(x.c() / width) as u32, 0];
        Launch::elements(shader, "forward", x.len() / width, &params)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 0, 0, 0], &[1])
    }

    fn flops(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        3 * outputs[0].shape.len() as u64
    }
}
