//! The mean over height and width of every channel, and its gradient.
use super::wgsl::{Wgsl, wgsl};
use super::{Batched, Launch, Mask, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::kernels::Norm;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Wgsl = wgsl!("global_avg_pool");

/// `[x: n × h × w × c] → [y: n × 1 × 1 × c]`, f32 whatever x is stored as.
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalAvgPool;

/// `[dy, (pre, norm), (out)] → [dx, (partials)]`: `dy / (h·w)` for every pixel that the mask keeps.
///
/// With a mask the forward's input was made from `pre` by BatchNorm and ReLU, and partials
/// `[blocks, 1, 2, c]` hold `Σ dx` and `Σ dx·x̂` of blocks of images, x̂ = (pre − mean)·rstd.
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalAvgPoolGrad {
    /// The forward's input.
    pub x: TensorDesc,
    /// Which pixels the ReLU before let through.
    pub mask: Mask,
}

/// The most blocks of images whose sums are left.
const MAX_BLOCKS: usize = 256;

impl GlobalAvgPoolGrad {
    /// Whole images per block of the partials.
    fn images_per_block(&self) -> usize {
        self.x.shape.n().div_ceil(MAX_BLOCKS)
    }

    fn blocks(&self, n: usize) -> usize {
        n.div_ceil(self.images_per_block())
    }
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
            x: g.desc(node.inputs[0]),
            mask: Mask::None,
        };
        Ok(vec![Some(g.push1(grad, &[dy])?)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
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
            Shader::Stored(SHADER, inputs[0].dtype),
            "forward",
            outputs[0].shape.len(),
            &[(h * w) as u32, c as u32, 0, 0],
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
        let (count, x) = (1 + self.mask.inputs(), self.x);
        ensure!(
            inputs.len() == count,
            "takes {count} inputs, not {}",
            inputs.len()
        );
        let (dy, want) = (inputs[0], Shape([self.x.shape.n(), 1, 1, self.x.shape.c()]));
        ensure!(
            dy == TensorDesc::f32(want),
            "gradient {dy} is not f32[{want}]"
        );
        if self.mask == Mask::None {
            return Ok(vec![x]);
        }
        Norm::check(inputs[2], x)?;
        for t in [1, 3].iter().filter_map(|&i| inputs.get(i)) {
            ensure!(*t == x, "{t} is not the {x} that was pooled");
        }
        let blocks = self.blocks(self.x.shape.n());
        let partials = Shape([blocks, 1, 2, self.x.shape.c()]);
        Ok(vec![x, TensorDesc::f32(partials)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = self.x.shape;
        let (dx, partials) = outputs.split_first_mut().expect("dx is inferred");
        let image = h * w * c;
        dx.f32()
            .par_chunks_mut(image)
            .zip(inputs[0].f32().par_chunks(c))
            .for_each(|(dx, dy)| {
                let (first, rest) = dx.split_at_mut(c);
                for (dx, dy) in first.iter_mut().zip(dy) {
                    *dx = dy / (h * w) as f32;
                }
                rest.chunks_exact_mut(c)
                    .for_each(|row| row.copy_from_slice(first));
            });
        let [partials] = partials else { return };
        let (pre, norm) = (inputs[1].f32(), Norm::of(inputs[2].f32()));
        let out = inputs.get(3).map(View::f32);
        let block = self.images_per_block() * image;
        dx.f32()
            .par_chunks_mut(block)
            .zip(partials.f32().par_chunks_mut(2 * c))
            .enumerate()
            .for_each(|(i, (dx, sums))| {
                sums.fill(0.0);
                let (sum, products) = sums.split_at_mut(c);
                for (row, dx) in dx.chunks_exact_mut(c).enumerate() {
                    let at = i * block + row * c;
                    let pre = &pre[at..at + c];
                    for ch in 0..c {
                        let kept = match out {
                            Some(out) => out[at + ch],
                            None => pre[ch] * norm.scale[ch] + norm.shift[ch],
                        };
                        dx[ch] = if kept > 0.0 { dx[ch] } else { 0.0 };
                        sum[ch] += dx[ch];
                        products[ch] += dx[ch] * ((pre[ch] - norm.mean[ch]) * norm.rstd[ch]);
                    }
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let Shape([n, h, w, c]) = outputs[0].shape;
        let entry = match self.mask {
            Mask::None => "grad_input",
            Mask::Activation => "grad_masked_by_activation",
            Mask::Output => "grad_masked_by_output",
        };
        let (count, images) = match self.mask {
            Mask::None => (outputs[0].shape.len(), 0),
            _ => (self.blocks(n) * c, self.images_per_block()),
        };
        let params = [h * w, c, images, inputs[0].shape.n()].map(|p| p as u32);
        Launch::elements(Shader::Stored(SHADER, self.x.dtype), entry, count, &params)
    }

    fn batched(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let images = self.images_per_block();
        let (read, written) = ([images, images, 0, images], [images, 1]);
        Batched::images(
            self.blocks(inputs[0].shape.n()),
            &read[..inputs.len()],
            &written[..outputs.len()],
        )
    }
}
