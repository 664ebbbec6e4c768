//! The moments of each channel in blocks: every block's own mean and sum of squares about it. All sums are of
//! distances from a value of the block, and its mean is stored as a distance, so a large mean costs no digits.
use super::reduction::{SHADER, blocks, reduction};
use crate::kernels::{CpuContext, MOMENTS};
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{Shape, TensorDesc};
use anyhow::Result;
use rayon::prelude::*;

/// `[x] → [partials: blocks × 1 × 4 × c]`: the [`MOMENTS`] of each block's rows (`n·h·w`). The pivot is the first of
/// them.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormPartials {
    /// Whole images per block, so that a dispatch cut along N makes the same blocks.
    pub images_per_block: usize,
}

impl OpDef for BatchNormPartials {
    fn name(&self) -> &'static str {
        "batch_norm_partials"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x] = arity(inputs)?;
        let blocks = blocks(x.shape, self.images_per_block);
        Ok(vec![TensorDesc::f32(Shape([
            blocks,
            1,
            MOMENTS,
            x.shape.c(),
        ]))])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, c) = (inputs[0].f32(), inputs[0].shape().c());
        let block = self.images_per_block * inputs[0].shape().with_n(1).len();
        outputs[0]
            .f32()
            .par_chunks_mut(MOMENTS * c)
            .zip(x.par_chunks(block))
            .for_each(|(out, x)| {
                let (count, moments) = out.split_at_mut(c);
                let (pivot, moments) = moments.split_at_mut(c);
                let (mean, m2) = moments.split_at_mut(c);
                let rows = (x.len() / c) as f32;
                count.fill(rows);
                pivot.copy_from_slice(&x[..c]);
                mean.fill(0.0);
                for row in x.chunks_exact(c) {
                    for ((sum, pivot), x) in mean.iter_mut().zip(&*pivot).zip(row) {
                        *sum += x - pivot;
                    }
                }
                mean.iter_mut().for_each(|sum| *sum /= rows);
                // The distances sum to what rounding left in the mean: it is taken out of both.
                let mut rest = vec![0.0; c];
                m2.fill(0.0);
                for row in x.chunks_exact(c) {
                    let of = rest.iter_mut().zip(&mut *m2);
                    let at = pivot.iter().zip(&*mean).zip(row);
                    for ((rest, m2), ((pivot, mean), x)) in of.zip(at) {
                        let d = (x - pivot) - mean;
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
        let shader = Shader::Stored(SHADER, inputs[0].dtype);
        Launch::new(shader, "moments_partials", params, groups)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let units = blocks(inputs[0].shape, self.images_per_block);
        Batched::images(units, &[self.images_per_block], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        7 * inputs[0].shape.len() as u64
    }
}
