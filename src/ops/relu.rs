//! ReLU and its gradient: `y = max(x, 0)`, `dx = dy` where `y > 0`, else 0 (also at exactly 0).
use super::elementwise::Elementwise;
use super::wgsl::{Wgsl, wgsl};
use crate::graph::{Graph, Node, TensorId};
use anyhow::Result;

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

impl Elementwise for Relu {
    const NAME: &'static str = "relu";
    const SHADER: Wgsl = wgsl!("relu");
    const ENTRY: &'static str = "forward";
    type Inputs = [f32; 1];

    #[inline(always)]
    fn element(&self, [x]: [f32; 1]) -> f32 {
        // Unlike `max`, the comparison lets a NaN through, so that it is noticed.
        if x < 0.0 { 0.0 } else { x }
    }

    fn gradients(&self, g: &mut Graph, node: &Node, dy: TensorId) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![Some(g.push1(ReluGrad, &[node.outputs[0], dy])?)])
    }
}

impl Elementwise for ReluGrad {
    const NAME: &'static str = "relu_grad";
    const SHADER: Wgsl = wgsl!("relu");
    const ENTRY: &'static str = "grad_input";
    type Inputs = [f32; 2];

    #[inline(always)]
    fn element(&self, [y, dy]: [f32; 2]) -> f32 {
        if y > 0.0 { dy } else { 0.0 }
    }
}
