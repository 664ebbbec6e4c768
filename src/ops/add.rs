//! The sum of two tensors: residual connections, and gradients of a tensor with two readers.
use super::rows::map_rows;
use super::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::TensorDesc;
use anyhow::{Result, ensure};

/// `[a, b] → [a + b]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Add;

impl Graph {
    /// `a + b`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn add(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push1(Add, &[a, b])
    }
}

impl OpDef for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [a, b] = arity(inputs)?;
        ensure!(a == b, "{a} and {b} differ");
        Ok(vec![a])
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![dy[0], dy[0]])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        map_rows(
            &mut outputs[0],
            [Some(&inputs[0]), Some(&inputs[1])],
            #[inline(always)]
            |y, [a, b]| {
                for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                    *y = a + b;
                }
            },
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let TensorDesc { shape, dtype } = inputs[0];
        Launch::elements(Shader::Stored("add", dtype), "forward", shape.len(), &[])
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 1], &[1])
    }
}
