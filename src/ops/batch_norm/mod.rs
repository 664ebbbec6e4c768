//! Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's conventions, as nodes: partial moments,
//! what they come to for each channel (`norm`), normalisation. Its gradient is in `grad`; what goes
//! through ReLU in the same pass is in `activate` and `pool`.
mod activate;
mod apply;
mod grad;
mod moments;
mod norm;
mod pool;

pub use activate::{Activate, Skip};
pub use apply::BatchNormApply;
pub use grad::{BatchNormGradInput, BatchNormGradPartials, BatchNormGradSum};
pub use moments::BatchNormPartials;
pub use norm::{BatchNormFinish, BatchNormFold};
pub use pool::{BatchNormMaxPool, BatchNormMaxPoolGrad};

use crate::graph::{Graph, TensorId};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// The reductions.
const SHADER: &str = "batch_norm";
/// What is done to every element.
const SHADER_APPLY: &str = "batch_norm_apply";

/// Channels that one workgroup of the reductions' first stage covers; it has 8 rows of as many invocations.
const GROUP_CHANNELS: usize = 32;

/// Channels that one workgroup of the second stage covers; it has 32 rows of as many invocations.
const FINISH_CHANNELS: usize = 8;

/// The most blocks of a reduction's first stage.
const MAX_BLOCKS: usize = 256;

/// The states of one layer, each `[1, 1, 1, c]`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Scale.
    pub gamma: TensorId,
    /// Shift.
    pub beta: TensorId,
    /// Running mean.
    pub running_mean: TensorId,
    /// Running variance.
    pub running_var: TensorId,
}

impl Graph {
    /// Normalises `x` by its batch's mean and biased variance, and moves the running statistics by
    /// `momentum` towards the mean and the unbiased variance.
    ///
    /// # Errors
    /// When there is only one value per channel, or the states do not have `c` elements.
    pub fn batch_norm_train(
        &mut self,
        x: TensorId,
        bn: &BatchNorm,
        eps: f32,
        momentum: f32,
    ) -> Result<TensorId> {
        let shape = self.shape(x);
        ensure!(
            shape.rows() > 1,
            "BatchNorm cannot train on one value per channel: take a larger batch or image"
        );
        let images_per_block = shape.n().div_ceil(MAX_BLOCKS);
        let partials = self.push1(BatchNormPartials { images_per_block }, &[x])?;
        let finish = BatchNormFinish {
            eps,
            momentum,
            bias: false,
        };
        let running = [bn.running_mean, bn.running_var];
        let norm = self.push_update(finish, &[partials, bn.gamma, bn.beta], &running)?;
        let apply = BatchNormApply { training: true };
        self.push1(apply, &[x, norm[0], bn.gamma, bn.beta])
    }

    /// Normalises `x` by the running statistics.
    ///
    /// # Errors
    /// When the states do not have `c` elements.
    pub fn batch_norm_eval(&mut self, x: TensorId, bn: &BatchNorm, eps: f32) -> Result<TensorId> {
        let BatchNorm {
            gamma,
            beta,
            running_mean,
            running_var,
        } = *bn;
        let fold = BatchNormFold { eps, bias: false };
        let norm = self.push1(fold, &[running_mean, running_var, gamma, beta])?;
        let apply = BatchNormApply { training: false };
        self.push1(apply, &[x, norm, gamma, beta])
    }
}

/// Checks that every tensor is f32 with one element per channel of `x`.
fn per_channel(x: TensorDesc, tensors: &[TensorDesc]) -> Result<()> {
    let want = TensorDesc::f32(Shape::channels(x.shape.c()));
    for t in tensors {
        ensure!(*t == want, "{x} needs {want} per channel, not {t}");
    }
    Ok(())
}

/// Blocks of the first stage of a reduction over a tensor of this shape.
fn blocks(shape: Shape, images_per_block: usize) -> usize {
    shape.n().div_ceil(images_per_block)
}

/// The kernel's parameters for a reduction's first stage, and its number of workgroups.
fn reduction(x: Shape, images_per_block: usize) -> (Vec<u32>, usize) {
    let rows_per_block = images_per_block * x.rows() / x.n();
    let channel_groups = x.c().div_ceil(GROUP_CHANNELS);
    let blocks = blocks(x, images_per_block);
    let params = [x.rows(), x.c(), rows_per_block, channel_groups, blocks].map(|p| p as u32);
    (params.to_vec(), blocks * channel_groups)
}
