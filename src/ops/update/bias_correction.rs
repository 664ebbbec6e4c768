//! How far averages that start at zero fall short, for the rules that correct it.
use super::rate::{self, STEP};
use crate::kernels::CpuContext;
use crate::ops::wgsl::wgsl;
use crate::ops::{Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// `[lr]`, state `[correction: 1×1×1×averages]`: one step of `c = β·c + (1 − β)` from `c = 0` for each average,
/// computed as `c + (1 − β)·(1 − c)`; none where lr says that there is no update.
///
/// After `t` steps `c` is `1 − β^t`, the sum of the weights in the average. The recurrence has no cancellation while
/// `β^t` is near 1 and needs no count of steps. It stands before the updates of a step, so that no `c` is 0.
#[derive(Clone, PartialEq, Debug)]
pub struct BiasCorrection {
    /// `1 − β` of each average, one or two.
    pub rates: Vec<f32>,
}

impl OpDef for BiasCorrection {
    fn name(&self) -> &'static str {
        "bias_correction"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [lr] = arity(inputs)?;
        rate::check(lr)?;
        let count = self.rates.len();
        ensure!(count == 1 || count == 2, "{count} averages, not one or two");
        Ok(vec![TensorDesc::f32(Shape::channels(count))])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        if rate::read(inputs[0]).is_some() {
            for (c, k) in outputs[0].f32().iter_mut().zip(&self.rates) {
                *c += k * (1.0 - *c);
            }
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let mut params = vec![self.rates.len() as u32, u32::from(inputs[0] == STEP)];
        params.extend(self.rates.iter().map(|k| k.to_bits()));
        params.resize(4, 0);
        Launch::new(
            Shader::Plain(wgsl!("bias_correction")),
            "advance",
            params,
            1,
        )
    }
}
