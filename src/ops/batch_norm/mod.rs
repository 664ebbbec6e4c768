//! Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's conventions, as nodes: partial moments,
//! what they come to for each channel (`norm`), normalisation. Its gradient is in `grad`; what goes
//! through ReLU in the same pass is in `activate` and `pool`.
mod activate;
mod apply;
mod grad;
mod moments;
mod norm;
mod pool;
mod reduction;

pub use activate::{Activate, Skip};
pub use apply::BatchNormApply;
pub use grad::{BatchNormGradInput, BatchNormGradPartials, BatchNormGradSum};
pub use moments::BatchNormPartials;
pub use norm::{BatchNormFinish, BatchNormFold};
pub use pool::{BatchNormMaxPool, BatchNormMaxPoolGrad};

use crate::graph::{Graph, TensorId};
use anyhow::{Result, ensure};
use reduction::MAX_BLOCKS;

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
