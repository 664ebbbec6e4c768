//! ReLU and its gradient: `y = max(x, 0)`, `dx = dy` where `y > 0`, else 0 (also at exactly 0).
use super::rows::map_rows;
use super::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::TensorDesc;
use anyhow::{Result, ensure};

const SHADER: &str = "relu";

/// `[x] → [y]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Relu;

/// `[y, dy] → [dx]`: reads the output, which the next layer keeps alive anyway.
#[derive(Clone, PartialEq, Debug)]
pub struct ReluGrad;

impl Graph {
    /// `max(x, 0)`.
    ///
    /// # Errors
    /// Never for an f32 tensor.
    pub fn relu(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(Relu, &[x])
    }
}

impl OpDef for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x] = arity(inputs)?;
        Ok(vec![x])
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
        Ok(vec![Some(g.push1(ReluGrad, &[node.outputs[0], dy])?)])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        map_rows(
            &mut outputs[0],
            [Some(&inputs[0])],
            #[inline(always)]
            |y, [x]| {
                for (y, x) in y.iter_mut().zip(x) {
                    // Unlike `max`, the comparison lets a NaN through, so that it is noticed.
                    *y = if *x < 0.0 { 0.0 } else { *x };
                }
            },
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let TensorDesc { shape, dtype } = inputs[0];
        Launch::elements(Shader::Stored(SHADER, dtype), "forward", shape.len(), &[])
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1], &[1])
    }
}

impl OpDef for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [y, dy] = arity(inputs)?;
        ensure!(y == dy, "output {y} and gradient {dy} differ");
        Ok(vec![dy])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        map_rows(
            &mut outputs[0],
            [Some(&inputs[0]), Some(&inputs[1])],
            #[inline(always)]
            |dx, [y, dy]| {
                for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                    *dx = if *y > 0.0 { *dy } else { 0.0 };
                }
            },
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let TensorDesc { shape, dtype } = inputs[0];
        Launch::elements(
            Shader::Stored(SHADER, dtype),
            "grad_input",
            shape.len(),
            &[],
        )
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 1], &[1])
    }
}
