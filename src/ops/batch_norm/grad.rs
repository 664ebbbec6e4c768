//! The gradient of BatchNorm: two sums per channel in two stages, then one pass.
use super::{SHADER, blocks, per_channel, reduction};
use crate::graph::{Shape, TensorDesc};
use crate::ops::{BLOCK, Batched, Launch, OpDef, View, ViewMut, arity};
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

/// First stage, `[x, dy, mean, var] → [partials: blocks × 1 × 2 × c]`: each block's `Σ dy` and
/// `Σ dy·x̂`, where `x̂ = (x − mean)/√(var + eps)`.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGradPartials {
    /// Added to the variance.
    pub eps: f32,
    /// Whole images per block, so that a dispatch cut along N makes the same blocks.
    pub images_per_block: usize,
}

/// Second stage, `[partials] → [dbeta, dgamma]`, each `[1, 1, 1, c]`: the blocks added in order.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGradSum;

/// `[x, dy, mean, var, gamma, dbeta, dgamma] → [dx]`.
///
/// In training, `dx = gamma/√(var + eps) · (dy − dbeta/count − x̂·dgamma/count)`, the total
/// derivative; in evaluation the moments are constants and the two last terms vanish.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGradInput {
    /// Added to the variance.
    pub eps: f32,
    /// Whether the moments are those of `x`.
    pub training: bool,
    /// Values per channel in the whole batch, of which a dispatch may see a part.
    pub count: usize,
}

impl OpDef for BatchNormGradPartials {
    fn name(&self) -> &'static str {
        "batch_norm_grad_partials"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x, dy, mean, var] = arity(inputs)?;
        ensure!(x == dy, "input {x} and gradient {dy} differ");
        per_channel(x, &[mean, var])?;
        let blocks = blocks(x.shape, self.images_per_block);
        Ok(vec![TensorDesc::f32(Shape([blocks, 1, 2, x.shape.c()]))])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, dy, mean, var] = inputs else {
            unreachable!("four inputs")
        };
        let c = x.shape().c();
        let block = self.images_per_block * x.shape().with_n(1).len();
        let (x, dy, mean, var) = (x.f32(), dy.f32(), mean.f32(), var.f32());
        let tensors = x.par_chunks(block).zip(dy.par_chunks(block));
        outputs[0]
            .f32()
            .par_chunks_mut(2 * c)
            .zip(tensors)
            .for_each(|(out, (x, dy))| {
                out.fill(0.0);
                let (sum_dy, sum_dy_xhat) = out.split_at_mut(c);
                // Slices of a known length: no bounds check is left to stand in the way of SIMD.
                let (mean, sum_dy_xhat) = (&mean[..c], &mut sum_dy_xhat[..c]);
                for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                    for ch in 0..c {
                        sum_dy[ch] += dy[ch];
                        sum_dy_xhat[ch] += dy[ch] * (x[ch] - mean[ch]);
                    }
                }
                for (sum, var) in sum_dy_xhat.iter_mut().zip(var) {
                    *sum /= (var + self.eps).sqrt();
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let (mut params, groups) = reduction(inputs[0].shape, self.images_per_block);
        params.push(self.eps.to_bits());
        Launch::new(SHADER, "grad_block_sums", params, groups)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let (units, images) = (
            blocks(inputs[0].shape, self.images_per_block),
            self.images_per_block,
        );
        Batched::images(units, &[images, images, 0, 0], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        4 * inputs[0].shape.len() as u64
    }
}

impl OpDef for BatchNormGradSum {
    fn name(&self) -> &'static str {
        "batch_norm_grad_sum"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [partials] = arity(inputs)?;
        let Shape([_, 1, 2, c]) = partials.shape else {
            bail!("{partials} is not two sums per block")
        };
        let sum = TensorDesc::f32(Shape::channels(c));
        Ok(vec![sum, sum])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (partials, c) = (inputs[0].f32(), inputs[0].shape().c());
        for (which, sum) in outputs.iter_mut().enumerate() {
            let sum = sum.f32();
            sum.fill(0.0);
            for block in partials.chunks_exact(2 * c) {
                for (sum, p) in sum.iter_mut().zip(&block[which * c..]) {
                    *sum += p;
                }
            }
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let Shape([blocks, _, _, c]) = inputs[0].shape;
        Launch::elements(SHADER, "grad_sum", c, &[blocks as u32])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].shape.len() as u64
    }
}

impl BatchNormGradInput {
    /// The weight of the batch's sums in each gradient.
    fn share(&self) -> f32 {
        if self.training {
            1.0 / self.count as f32
        } else {
            0.0
        }
    }
}

impl OpDef for BatchNormGradInput {
    fn name(&self) -> &'static str {
        "batch_norm_grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x, dy, mean, var, gamma, dbeta, dgamma] = arity(inputs)?;
        ensure!(x == dy, "input {x} and gradient {dy} differ");
        per_channel(x, &[mean, var, gamma, dbeta, dgamma])?;
        Ok(vec![x])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let c = inputs[0].shape().c();
        let [x, dy, mean, var, gamma, dbeta, dgamma] =
            [0, 1, 2, 3, 4, 5, 6].map(|i| inputs[i].f32());
        // dx = scale·dy + slope·(x − mean) + offset, with the three numbers of each channel.
        let share = self.share();
        let (mut scale, mut slope, mut offset) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
        for ch in 0..c {
            let rstd = 1.0 / (var[ch] + self.eps).sqrt();
            scale[ch] = gamma[ch] * rstd;
            slope[ch] = -scale[ch] * rstd * dgamma[ch] * share;
            offset[ch] = -scale[ch] * dbeta[ch] * share;
        }
        let block = BLOCK.next_multiple_of(c);
        let tensors = x.par_chunks(block).zip(dy.par_chunks(block));
        outputs[0]
            .f32()
            .par_chunks_mut(block)
            .zip(tensors)
            .for_each(|(dx, (x, dy))| {
                let (mean, scale) = (&mean[..c], &scale[..c]);
                let (slope, offset) = (&slope[..c], &offset[..c]);
                let rows = x.chunks_exact(c).zip(dy.chunks_exact(c));
                for (dx, (x, dy)) in dx.chunks_exact_mut(c).zip(rows) {
                    for ch in 0..c {
                        dx[ch] = scale[ch] * dy[ch] + (slope[ch] * (x[ch] - mean[ch]) + offset[ch]);
                    }
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let x = inputs[0].shape;
        let params = [x.c() as u32, self.eps.to_bits(), self.share().to_bits()];
        Launch::elements(SHADER, "grad_input", x.len(), &params)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 1, 0, 0, 0, 0, 0], &[1])
    }

    fn flops(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        6 * outputs[0].shape.len() as u64
    }
}
