//! Every op of the graph, one family per file. [`OpDef`] is the checklist of what an op must say; the [`Op`] enum,
//! which names them all, is what the planner, the printer and the backends hold.
mod add;
mod augment;
mod batch_norm;
mod clip;
mod conv2d;
mod cross_entropy;
mod def;
mod elementwise;
mod fill;
mod gather;
mod global_avg_pool;
mod linear;
mod loss_log;
mod loss_scale;
mod max_pool;

mod relu;
mod resize;
mod rows;
mod shader;
mod stored;
mod sum;
pub mod tuning;
mod update;
mod view;
mod wgsl;

pub use add::Add;
pub use augment::{AUGMENTATION_WORDS, Change, Rectangle};
pub use batch_norm::{
    Activate, BatchNorm, BatchNormApply, BatchNormFinish, BatchNormFold, BatchNormGradInput,
    BatchNormGradPartials, BatchNormGradSum, BatchNormMaxPool, BatchNormMaxPoolGrad,
    BatchNormPartials, Skip,
};
pub use clip::{AddSquares, Clip, GradientSquares};
pub use conv2d::{
    Conv2d, Conv2dGradBias, Conv2dGradInput, Conv2dGradWeight, ConvKernel, ConvPass, Cooperative,
    Mask, StemKernel, Tile,
};
pub use cross_entropy::{CrossEntropy, CrossEntropyGrad};
pub(crate) use def::arity;
pub use def::{Batched, OpDef};
pub use fill::Fill;
pub use gather::{GatherImages, GatherLabels, NORMALISED_CHANNELS, Normalise, Shard};
pub use global_avg_pool::{GlobalAvgPool, GlobalAvgPoolGrad};
pub use loss_log::{LOSS_LOG_CAPACITY, LossLog, LossLogStates};
pub use loss_scale::{AnyFlag, GradientCheck, Rescale, SCALING, first_scale};
pub use max_pool::{MaxPool, MaxPoolGrad};
pub use relu::{Relu, ReluGrad};
pub use resize::{Taps, cropped_taps, precropped_taps, resize, resize_taps};
pub use shader::{Kernel, Launch, Shader};
pub use sum::SumPartials;
pub use update::*;
pub use view::{View, ViewMut};
pub use wgsl::Wgsl;

use def::BLOCK;

/// Declares [`Op`] with one variant per struct; a list, so that adding an op is adding a line.
macro_rules! ops {
    ($($module:ident::$op:ident),* $(,)?) => {
        /// Any op of the graph.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Op { $(#[doc = concat!("See [`", stringify!($module), "::", stringify!($op), "`].")] $op($module::$op)),* }

        impl Op {
            /// The op's definition.
            pub fn def(&self) -> &dyn OpDef {
                match self { $(Op::$op(op) => op),* }
            }
        }

        $(impl From<$module::$op> for Op {
            fn from(op: $module::$op) -> Op { Op::$op(op) }
        })*
    };
}

ops! {
    add::Add,
    batch_norm::Activate,
    batch_norm::BatchNormApply,
    batch_norm::BatchNormFinish,
    batch_norm::BatchNormFold,
    batch_norm::BatchNormGradInput,
    batch_norm::BatchNormGradPartials,
    batch_norm::BatchNormGradSum,
    batch_norm::BatchNormMaxPool,
    batch_norm::BatchNormMaxPoolGrad,
    batch_norm::BatchNormPartials,
    conv2d::Conv2d, conv2d::Conv2dGradBias, conv2d::Conv2dGradInput, conv2d::Conv2dGradWeight,
    cross_entropy::CrossEntropy, cross_entropy::CrossEntropyGrad,
    fill::Fill,
    gather::GatherImages, gather::GatherLabels,
    global_avg_pool::GlobalAvgPool, global_avg_pool::GlobalAvgPoolGrad,
    loss_scale::AnyFlag, loss_scale::GradientCheck, loss_scale::Rescale,
    clip::AddSquares, clip::Clip, clip::GradientSquares,
    max_pool::MaxPool, max_pool::MaxPoolGrad,
    loss_log::LossLog,
    relu::Relu, relu::ReluGrad,
    sum::SumPartials,
    update::Accumulate, update::BiasCorrection, update::Update,
}
