//! The second stage of a reduction: partial sums added in a fixed order, the same on every run.
use super::wgsl::wgsl;
use super::{Launch, OpDef, Shader, View, ViewMut, arity};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// `[partials: P × …] → [sum]`: adds the `P` leading rows, from first to last, into one of `shape`.
#[derive(Clone, PartialEq, Debug)]
pub struct SumPartials {
    /// Dimensions of the result; as many elements as one row of the partials.
    pub shape: Shape,
}

impl OpDef for SumPartials {
    fn name(&self) -> &'static str {
        "sum_partials"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [partials] = arity(inputs)?;
        ensure!(
            partials.shape.with_n(1).len() == self.shape.len(),
            "rows of {partials} do not have the elements of {}",
            self.shape
        );
        Ok(vec![TensorDesc::f32(self.shape)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let partials = inputs[0].f32();
        let row = self.shape.len();
        outputs[0]
            .f32()
            .par_chunks_mut(4096)
            .enumerate()
            .for_each(|(block, y)| {
                y.fill(0.0);
                for part in partials.chunks_exact(row) {
                    for (y, p) in y.iter_mut().zip(&part[block * 4096..]) {
                        *y += p;
                    }
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let partials = inputs[0].shape.n() as u32;
        Launch::elements(
            Shader::Plain(wgsl!("sum")),
            "forward",
            self.shape.len(),
            &[partials],
        )
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].shape.len() as u64
    }
}
