//! A tensor of one repeated value: the gradient of a mean with respect to its terms.
use super::wgsl::wgsl;
use super::{Launch, OpDef, SCALING, Shader, View, ViewMut, arity};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// `[(scaling)] → [y]`, every element `value`, times the first of `scaling`, the state of [`super::Rescale`].
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
        if !inputs.is_empty() {
            let [scaling] = arity(inputs)?;
            ensure!(scaling == SCALING, "{scaling} is not {SCALING}");
        }
        Ok(vec![TensorDesc::f32(self.shape)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let scale = inputs.first().map_or(1.0, |scaling| scaling.f32()[0]);
        outputs[0].f32().fill(self.value * scale);
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let count = outputs[0].shape.len();
        Launch::elements(
            Shader::Plain(wgsl!("fill")),
            if inputs.is_empty() {
                "forward"
            } else {
                "scaled"
            },
            count,
            &[self.value.to_bits()],
        )
    }
}
