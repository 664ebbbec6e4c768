//! What every op says about itself, and how a dispatch of it may be cut.
use super::{Launch, View, ViewMut};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::TensorDesc;
use anyhow::{Result, bail};

/// What every op says about itself.
pub trait OpDef {
    /// The name in dumps and messages, in snake case.
    fn name(&self) -> &'static str;

    /// Descriptions of the outputs: new values first, then the states updated in place.
    ///
    /// # Errors
    /// When the number, shapes or element types of the inputs do not fit.
    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>>;

    /// Appends the nodes of the vector-Jacobian product: from the gradients `dy` of the outputs
    /// to one gradient per input, `None` where it is zero or has no meaning.
    ///
    /// # Errors
    /// When the op has no gradient.
    fn backward(
        &self,
        _g: &mut Graph,
        _node: &Node,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        bail!("{} has no gradient", self.name())
    }

    /// Whether [`OpDef::run_cpu`] takes images of bfloat16 as they are; it sees them in f32 else, as those of f16.
    fn takes_bf16(&self) -> bool {
        false
    }

    /// Runs on the CPU, on the current rayon pool, as `cpu` says. States come in `outputs` with their old bytes.
    /// The result does not depend on the number of threads.
    fn run_cpu(&self, cpu: CpuContext, inputs: &[View], outputs: &mut [ViewMut]);

    /// The GPU dispatch for these tensors as plain data. Binding 0 is the uniform block of
    /// `params`; the inputs follow from binding 1 (read), then the outputs (read and write).
    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch;

    /// How the dispatch may be cut along N; `None` when it must be done at once.
    fn batched(&self, _inputs: &[TensorDesc], _outputs: &[TensorDesc]) -> Option<Batched> {
        None
    }

    /// Floating-point operations, a multiply-add counted as two. Element-wise ops count one per
    /// output element unless they say otherwise.
    fn flops(&self, _inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        outputs.iter().map(|o| o.shape.len() as u64).sum()
    }

    /// Bytes that a dispatch moves when it touches each element once that it can touch at all: every
    /// bound tensor, unless the op says otherwise.
    fn bytes(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        let bound = inputs.iter().chain(outputs);
        bound.map(|t| t.bytes() as u64).sum()
    }
}

/// How a dispatch may be cut along N. A unit is the smallest piece; every tensor says how many of
/// its leading rows belong to one unit, 0 for a tensor that each piece needs whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batched {
    /// Number of units; the last may be shorter.
    pub units: usize,
    /// Leading rows per unit of each input.
    pub inputs: Vec<usize>,
    /// Leading rows per unit of each output.
    pub outputs: Vec<usize>,
}

impl Batched {
    /// One unit per leading row: the usual case of an op that treats images alone.
    pub fn images(n: usize, inputs: &[usize], outputs: &[usize]) -> Option<Batched> {
        Some(Batched {
            units: n,
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
        })
    }
}

/// Elements per task of element-wise ops on the CPU: 64 KiB per tensor.
pub(super) const BLOCK: usize = 16_384;

/// Destructures the inputs of an op or says how many it takes.
pub fn arity<const N: usize>(inputs: &[TensorDesc]) -> Result<[TensorDesc; N]> {
    match inputs.try_into() {
        Ok(inputs) => Ok(inputs),
        Err(_) => bail!("takes {N} inputs, not {}", inputs.len()),
    }
}
