//! The sum of two tensors: residual connections, and gradients of a tensor with two readers.
use super::elementwise::Elementwise;
use super::wgsl::{Wgsl, wgsl};
use crate::graph::{Graph, Node, TensorId};
use anyhow::Result;

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

impl Elementwise for Add {
    const NAME: &'static str = "add";
    const SHADER: Wgsl = wgsl!("add");
    const ENTRY: &'static str = "forward";
    type Inputs = [f32; 2];

    #[inline(always)]
    fn element(&self, [a, b]: [f32; 2]) -> f32 {
        a + b
    }

    fn gradients(&self, _: &mut Graph, _: &Node, dy: TensorId) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![Some(dy), Some(dy)])
    }
}
