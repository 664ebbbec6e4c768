//! The gradient of BatchNorm: two sums per channel in two stages, then one pass.
use super::reduction::{FINISH_CHANNELS, SHADER, SHADER_APPLY, blocks, per_channel, reduction};
use crate::kernels::CpuContext;
use crate::kernels::Norm;
use crate::ops::rows::map_rows;
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

/// First stage, `[x, dy, norm] → [partials: blocks × 1 × 2 × c]`: each block's `Σ dy` and `Σ dy·x̂`,
/// where `x̂ = (x − mean)·rstd`.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGradPartials {
    /// Whole images per block, so that a dispatch cut along N makes the same blocks.
    pub images_per_block: usize,
}

/// Second stage, `[partials] → [dbeta, dgamma]`, each `[1, 1, 1, c]`: the sums over all blocks.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGradSum;

/// `[x, dy, norm, dbeta, dgamma, (skip)] → [dx]`.
///
/// In training, `dx = scale · (dy − dbeta/count − x̂·dgamma/count)`, the total derivative; in
/// evaluation the moments are constants and the two last terms vanish. The gradient `skip` of
/// another reader of `x` is added.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGradInput {
    /// Whether the moments are those of `x`.
    pub training: bool,
    /// Values per channel in the whole batch, of which a dispatch may see a part.
    pub count: usize,
    /// Whether there is a `skip`.
    pub add: bool,
}

impl OpDef for BatchNormGradPartials {
    fn name(&self) -> &'static str {
        "batch_norm_grad_partials"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x, dy, norm] = arity(inputs)?;
        ensure!(x == dy, "input {x} and gradient {dy} differ");
        Norm::check(norm, x)?;
        let blocks = blocks(x.shape, self.images_per_block);
        Ok(vec![TensorDesc::f32(Shape([blocks, 1, 2, x.shape.c()]))])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, dy, norm] = inputs else {
            unreachable!("three inputs")
        };
        let c = x.shape().c();
        let block = self.images_per_block * x.shape().with_n(1).len();
        let (x, dy, Norm { mean, rstd, .. }) = (x.f32(), dy.f32(), Norm::of(norm.f32()));
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
                for (sum, rstd) in sum_dy_xhat.iter_mut().zip(rstd) {
                    *sum *= rstd;
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let (params, groups) = reduction(inputs[0].shape, self.images_per_block);
        let shader = Shader::Stored(SHADER, inputs[0].dtype);
        Launch::new(shader, "grad_block_sums", params, groups)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let (units, images) = (
            blocks(inputs[0].shape, self.images_per_block),
            self.images_per_block,
        );
        Batched::images(units, &[images, images, 0], &[1])
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

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
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
        let params = vec![c as u32, blocks as u32];
        let shader = Shader::Stored(SHADER, DType::F32);
        Launch::new(shader, "grad_sum", params, c.div_ceil(FINISH_CHANNELS))
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].shape.len() as u64
    }
}

impl BatchNormGradInput {
    /// The weight of the batch's sums in each gradient.
    pub(super) fn share(training: bool, count: usize) -> f32 {
        if training { 1.0 / count as f32 } else { 0.0 }
    }
}

/// `dx = scale·dy + slope·(x − mean) + offset`, with the numbers of each channel.
pub(super) struct Affine<'a> {
    pub scale: &'a [f32],
    pub mean: &'a [f32],
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
}

impl<'a> Affine<'a> {
    /// From the norm and the sums over a batch, each of which has the weight `share`.
    pub fn new(norm: View<'a>, dbeta: View, dgamma: View, share: f32) -> Affine<'a> {
        let Norm {
            scale, mean, rstd, ..
        } = Norm::of(norm.f32());
        let slope = |ch: usize| -scale[ch] * rstd[ch] * dgamma.f32()[ch] * share;
        let offset = |ch: usize| -scale[ch] * dbeta.f32()[ch] * share;
        Affine {
            scale,
            mean,
            slope: (0..scale.len()).map(slope).collect(),
            offset: (0..scale.len()).map(offset).collect(),
        }
    }

    /// One row of `c` elements, in place of its `dy`.
    #[inline(always)]
    pub fn apply(&self, dx: &mut [f32], x: &[f32]) {
        let c = x.len();
        // Slices of a known length: no bounds check is left to stand in the way of SIMD.
        let (dx, scale, mean) = (&mut dx[..c], &self.scale[..c], &self.mean[..c]);
        let (slope, offset) = (&self.slope[..c], &self.offset[..c]);
        for ch in 0..c {
            dx[ch] = scale[ch] * dx[ch] + (slope[ch] * (x[ch] - mean[ch]) + offset[ch]);
        }
    }
}

impl OpDef for BatchNormGradInput {
    fn name(&self) -> &'static str {
        "batch_norm_grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let count = 5 + usize::from(self.add);
        ensure!(
            inputs.len() == count,
            "takes {count} inputs, not {}",
            inputs.len()
        );
        let (x, norm) = (inputs[0], inputs[2]);
        for dy in [1].into_iter().chain(5..count) {
            let dy = inputs[dy];
            ensure!(x == dy, "input {x} and gradient {dy} differ");
        }
        Norm::check(norm, x)?;
        per_channel(x, &inputs[3..5])?;
        Ok(vec![x])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let share = BatchNormGradInput::share(self.training, self.count);
        let affine = Affine::new(inputs[2], inputs[3], inputs[4], share);
        let c = inputs[0].shape().c();
        let read = [Some(&inputs[0]), Some(&inputs[1]), inputs.get(5)];
        map_rows(
            &mut outputs[0],
            read,
            #[inline(always)]
            |dx, [x, dy, skip]| {
                dx.copy_from_slice(dy);
                for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    affine.apply(dx, x);
                }
                dx.iter_mut().zip(skip).for_each(|(dx, s)| *dx += s);
            },
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let x = inputs[0].shape;
        let (shader, width) = Shader::lanes(SHADER_APPLY, inputs[0]);
        let share = BatchNormGradInput::share(self.training, self.count);
        let params = [(x.c() / width) as u32, share.to_bits()];
        let entry = if self.add {
            "grad_input_add"
        } else {
            "grad_input"
        };
        Launch::elements(shader, entry, x.len() / width, &params)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let rows = [1, 1, 0, 0, 0, 1];
        Batched::images(inputs[0].shape.n(), &rows[..inputs.len()], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        (inputs.len() + 1) as u64 * outputs[0].shape.len() as u64
    }
}
