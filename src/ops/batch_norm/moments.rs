//! Mean and variance of each channel: every block's own mean and sum of squares about it, then all
//! blocks merged. Nothing is ever squared before a mean is taken off, so a large mean costs no digits.
use super::{SHADER, blocks, per_channel, reduction};
use crate::graph::{Shape, TensorDesc};
use crate::ops::{Batched, Launch, OpDef, View, ViewMut, arity};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// First stage, `[x] → [partials: blocks × 1 × 2 × c]`: each block's mean, and its sum of squared
/// distances from it (M2).
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormPartials {
    /// Whole images per block, so that a dispatch cut along N makes the same blocks.
    pub images_per_block: usize,
}

/// Second stage, `[partials] → [mean, var]`, each `[1, 1, 1, c]`; the variance is the biased one.
///
/// The blocks are merged by the rule of Chan, Golub and LeVeque (1979), relative to the first
/// block's mean, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormMoments {
    /// Rows (`n·h·w`) of every block but the last, which has the rest.
    pub rows_per_block: usize,
    /// Rows of all blocks.
    pub count: usize,
}

/// `[mean, var]`, updates `[running_mean, running_var]`: `r ← (1 − momentum)·r + momentum·s`, where the
/// variance is made unbiased by `count / (count − 1)`.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormRunning {
    /// Weight of the new batch.
    pub momentum: f32,
    /// Values per channel in the batch.
    pub count: usize,
}

impl OpDef for BatchNormPartials {
    fn name(&self) -> &'static str {
        "batch_norm_partials"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x] = arity(inputs)?;
        let blocks = blocks(x.shape, self.images_per_block);
        Ok(vec![TensorDesc::f32(Shape([blocks, 1, 2, x.shape.c()]))])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, c) = (inputs[0].f32(), inputs[0].shape().c());
        let block = self.images_per_block * inputs[0].shape().with_n(1).len();
        outputs[0]
            .f32()
            .par_chunks_mut(2 * c)
            .zip(x.par_chunks(block))
            .for_each(|(out, x)| {
                let (mean, m2) = out.split_at_mut(c);
                let rows = (x.len() / c) as f32;
                mean.fill(0.0);
                for row in x.chunks_exact(c) {
                    for (sum, x) in mean.iter_mut().zip(row) {
                        *sum += x;
                    }
                }
                mean.iter_mut().for_each(|sum| *sum /= rows);
                // The distances sum to what rounding left in the mean: it is taken out of both.
                let mut rest = vec![0.0; c];
                m2.fill(0.0);
                for row in x.chunks_exact(c) {
                    for (((rest, m2), mean), x) in
                        rest.iter_mut().zip(&mut *m2).zip(&*mean).zip(row)
                    {
                        let d = x - mean;
                        *rest += d;
                        *m2 += d * d;
                    }
                }
                for ((rest, m2), mean) in rest.iter().zip(m2).zip(mean) {
                    *mean += rest / rows;
                    *m2 -= rest * rest / rows;
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let (params, groups) = reduction(inputs[0].shape, self.images_per_block);
        Launch::new(SHADER, "moments_partials", params, groups)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let units = blocks(inputs[0].shape, self.images_per_block);
        Batched::images(units, &[self.images_per_block], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        5 * inputs[0].shape.len() as u64
    }
}

impl OpDef for BatchNormMoments {
    fn name(&self) -> &'static str {
        "batch_norm_moments"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [partials] = arity(inputs)?;
        let Shape([blocks, 1, 2, c]) = partials.shape else {
            anyhow::bail!("{partials} is not mean and M2 per block");
        };
        ensure!(
            blocks == self.count.div_ceil(self.rows_per_block),
            "{blocks} blocks of {} rows are not {} rows",
            self.rows_per_block,
            self.count
        );
        let moment = TensorDesc::f32(Shape::channels(c));
        Ok(vec![moment, moment])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (partials, c) = (inputs[0].f32(), inputs[0].shape().c());
        let [mean, var] = outputs else {
            unreachable!("two outputs")
        };
        let count = self.count as f32;
        let rows = |block: usize| {
            self.rows_per_block
                .min(self.count - block * self.rows_per_block) as f32
        };
        for ch in 0..c {
            let blocks = || partials[ch..].chunks(2 * c).enumerate();
            let first = partials[ch];
            let mut shift = 0.0;
            for (b, block) in blocks() {
                shift += (block[0] - first) * (rows(b) / count);
            }
            let mut m2 = 0.0;
            for (b, block) in blocks() {
                let d = (block[0] - first) - shift;
                m2 += block[c] + d * d * rows(b);
            }
            mean.f32()[ch] = first + shift;
            var.f32()[ch] = m2 / count;
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let Shape([blocks, _, _, c]) = inputs[0].shape;
        let params = [blocks as u32, self.rows_per_block as u32, self.count as u32];
        Launch::elements(SHADER, "moments", c, &params)
    }
}

impl OpDef for BatchNormRunning {
    fn name(&self) -> &'static str {
        "batch_norm_running"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [mean, var] = arity(inputs)?;
        per_channel(mean, &[mean, var])?;
        Ok(vec![mean, var])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        for (i, factor) in [1.0, self.unbiased()].into_iter().enumerate() {
            for (r, s) in outputs[i].f32().iter_mut().zip(inputs[i].f32()) {
                *r = (1.0 - self.momentum) * *r + self.momentum * (s * factor);
            }
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let params = [self.momentum.to_bits(), self.unbiased().to_bits()];
        Launch::elements(SHADER, "running", inputs[0].shape.len(), &params)
    }
}

impl BatchNormRunning {
    fn unbiased(&self) -> f32 {
        self.count as f32 / (self.count - 1) as f32
    }
}
