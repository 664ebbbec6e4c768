//! The sum of gradients over the micro-batches of a step.
use super::kernel::UpdateKernel;
use super::segment::{self, BLOCK, Segment, blocks, params};
use crate::kernels::CpuContext;
use crate::ops::{Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{Shape, TensorDesc};
use anyhow::Result;
use rayon::prelude::*;

/// `[g]`, state `[sum: 1×1×1×len]`: adds to every segment of `sum` its gradient, the sum of its partial gradients
/// in `g`. Learning rates and weight decay have no part in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Accumulate {
    /// The parameters, as in [`super::Update`].
    pub segments: Vec<Segment>,
    /// Elements of `sum`.
    pub len: usize,
}

impl OpDef for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [g] = arity(inputs)?;
        segment::check(&self.segments, g, self.len)?;
        Ok(vec![TensorDesc::f32(Shape::channels(self.len))])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (g, sums) = (inputs[0].f32(), outputs[0].f32());
        for s in &self.segments {
            let blocks = sums[s.p..][..s.len].par_chunks_mut(BLOCK);
            blocks.enumerate().for_each(|(block, sums)| {
                let g = segment::gradient(s, g, block);
                sums.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
            });
        }
    }

    fn launch(&self, _: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let params = params(&self.segments, false, &[]);
        let shader = Shader::Update(UpdateKernel::Accumulate);
        Launch::new(shader, "forward", params, blocks(&self.segments))
    }

    fn flops(&self, _: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        let flops = self.segments.iter().map(|s| (s.partials + 1) * s.len);
        flops.sum::<usize>() as u64
    }

    fn bytes(&self, _: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        let elements = self.segments.iter().map(|s| (s.partials + 2) * s.len);
        4 * elements.sum::<usize>() as u64
    }
}
