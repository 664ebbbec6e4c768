//! The gradient of a convolution's bias: the sum of `dy` over all pixels, in two stages.
use super::tile::WORKGROUPS;
use crate::kernels::CpuContext;
use crate::ops::shader::word;
use crate::ops::wgsl::wgsl;
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// `[dy] → [partials]` of shape `[splits, 1, 1, c_out]`: `db[co] = Σ dy[n,oy,ox,co]`, where split s
/// covers the images from `s·images_per_split`.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dGradBias {
    /// Images whose gradients are summed in one partial sum.
    pub images_per_split: usize,
}

impl Conv2dGradBias {
    /// Chooses the split for `n` images: as many as keep a GPU busy.
    pub fn new(n: usize) -> Conv2dGradBias {
        Conv2dGradBias {
            images_per_split: n.div_ceil(WORKGROUPS),
        }
    }
}

impl OpDef for Conv2dGradBias {
    fn name(&self) -> &'static str {
        "conv2d_grad_bias"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [dy] = arity(inputs)?;
        ensure!(dy.dtype.is_float(), "gradient {dy} is not of numbers");
        let splits = dy.shape.n().div_ceil(self.images_per_split);
        let partials = Shape::channels(dy.shape.c()).with_n(splits);
        Ok(vec![TensorDesc::f32(partials)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let dy = inputs[0];
        let c_out = dy.shape().c();
        let split = self.images_per_split * dy.shape().with_n(1).len();
        outputs[0]
            .f32()
            .par_chunks_mut(c_out)
            .zip(dy.f32().par_chunks(split))
            .for_each(|(db, dy)| {
                db.fill(0.0);
                for row in dy.chunks_exact(c_out) {
                    for (db, dy) in db.iter_mut().zip(row) {
                        *db += dy;
                    }
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let dy = inputs[0].shape;
        let [n, h_out, w_out, c_out] = dy.0;
        let params = [
            n * h_out * w_out,
            c_out,
            self.images_per_split * h_out * w_out,
        ];
        let params = params.map(word);
        let groups = outputs[0].shape.n() * c_out.div_ceil(16);
        Launch::new(
            Shader::Stored(wgsl!("conv2d_bias"), inputs[0].dtype),
            "grad_bias",
            params.to_vec(),
            groups,
        )
    }

    fn batched(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        Batched::images(outputs[0].shape.n(), &[self.images_per_split], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].shape.len() as u64
    }
}
