//! Every op of the graph, one family per file. [`OpDef`] is the checklist of what an op must say;
//! the [`Op`] enum is what the planner, the printer and the backends hold.
mod adamw;
mod add;
mod batch_norm;
mod conv2d;
mod cross_entropy;
mod fill;
mod gather;
mod global_avg_pool;
mod linear;
mod loss_scale;
mod max_pool;
mod record;
mod relu;
mod rows;
mod sgd;
mod sgd_bucket;
mod shader;
mod sum;
mod view;

pub use adamw::{AdamW, AdamWCorrection};
pub use add::Add;
pub use batch_norm::{
    Activate, BatchNorm, BatchNormApply, BatchNormFinish, BatchNormFold, BatchNormGradInput,
    BatchNormGradPartials, BatchNormGradSum, BatchNormMaxPool, BatchNormMaxPoolGrad,
    BatchNormPartials, Skip,
};
pub use conv2d::{
    Conv2d, Conv2dGradBias, Conv2dGradInput, Conv2dGradWeight, ConvKernel, ConvPass, Convolution,
    Cooperative, Mask, StemKernel, Tile, Tiling, Tilings,
};
pub use cross_entropy::{CrossEntropy, CrossEntropyGrad};
pub use fill::Fill;
pub use gather::{GatherImages, GatherLabels, resize_taps};
pub use global_avg_pool::{GlobalAvgPool, GlobalAvgPoolGrad};
pub use loss_scale::{AnyFlag, GradientCheck, Rescale, SCALING, first_scale};
pub use max_pool::{MaxPool, MaxPoolGrad};
pub use record::{RECORD_CAPACITY, Record, RecordStates};
pub use relu::{Relu, ReluGrad};
pub use sgd::Sgd;
pub use sgd_bucket::{MAX_SEGMENTS, Segment, SgdBucket};
pub use shader::{Kernel, Launch, Shader};
pub use sum::SumPartials;
pub use view::{View, ViewMut};

use crate::graph::{Graph, Node, TensorId};
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

    /// Runs on the CPU, on the current rayon pool. States come in `outputs` with their old bytes.
    /// The result does not depend on the number of threads.
    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]);

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

/// Declares [`Op`] with one variant per struct; a list, so that adding an op is adding a word.
macro_rules! ops {
    ($($op:ident),* $(,)?) => {
        /// Any op of the graph.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Op { $(#[doc = concat!("See [`", stringify!($op), "`].")] $op($op)),* }

        impl Op {
            /// The op's definition.
            pub fn def(&self) -> &dyn OpDef {
                match self { $(Op::$op(op) => op),* }
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Op { Op::$op(op) }
        })*
    };
}

ops!(
    Activate,
    AdamW,
    AdamWCorrection,
    Add,
    AnyFlag,
    BatchNormApply,
    BatchNormFinish,
    BatchNormFold,
    BatchNormGradInput,
    BatchNormGradPartials,
    BatchNormGradSum,
    BatchNormMaxPool,
    BatchNormMaxPoolGrad,
    BatchNormPartials,
    Conv2d,
    Conv2dGradBias,
    Conv2dGradInput,
    Conv2dGradWeight,
    CrossEntropy,
    CrossEntropyGrad,
    Fill,
    GatherImages,
    GatherLabels,
    GlobalAvgPool,
    GlobalAvgPoolGrad,
    GradientCheck,
    MaxPool,
    MaxPoolGrad,
    Record,
    Relu,
    ReluGrad,
    Rescale,
    Sgd,
    SgdBucket,
    SumPartials,
);

/// Elements per task of element-wise ops on the CPU: 64 KiB per tensor.
const BLOCK: usize = 16_384;

/// Destructures the inputs of an op or says how many it takes.
pub(crate) fn arity<const N: usize>(inputs: &[TensorDesc]) -> Result<[TensorDesc; N]> {
    match inputs.try_into() {
        Ok(inputs) => Ok(inputs),
        Err(_) => bail!("takes {N} inputs, not {}", inputs.len()),
    }
}
