//! A tensor of one repeated value: the gradient of a mean with respect to its terms.
use super::{Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Shape, TensorDesc};
use anyhow::Result;

/// `[] → [y]`, every element `value`.
#[derive(Clone, PartialEq, Debug)]
pub struct Fill {
    /// The value.
    pub value: f32,
    /// Dimensions of the result.
    pub shape: Shape,
}

impl OpDef for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [] = arity(inputs)?;
        Ok(vec![TensorDesc::f32(self.shape)])
    }

    fn run_cpu(&self, _: &[View], outputs: &mut [ViewMut]) {
        outputs[0].f32().fill(self.value);
    }

    fn launch(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let count = outputs[0].shape.len();
        Launch::elements(
            Shader::Plain("fill"),
            "forward",
            count,
            &[self.value.to_bits()],
        )
    }
}
