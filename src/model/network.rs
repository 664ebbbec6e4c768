//! A network in a graph, as people count its layers.
use super::{Frozen, Param};
use crate::graph::TensorId;
use crate::kernels::Window;

/// Whether BatchNorm normalises by the batch or by the running statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// By the batch, updating the running statistics; but by these in what is frozen.
    Train(Frozen),
    /// By the running statistics.
    Eval,
}

impl Mode {
    /// Training of everything.
    pub const TRAIN: Mode = Mode::Train(Frozen::NONE);

    /// Whether a layer of this name takes the statistics of the batch.
    pub fn takes_batch_statistics(self, layer: &str) -> bool {
        match self {
            Mode::Train(frozen) => !frozen.holds(layer),
            Mode::Eval => false,
        }
    }
}

/// What kind of layer a row of the shape table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayerKind {
    /// Convolution.
    Conv2d,
    /// Batch normalisation.
    BatchNorm,
    /// Rectifier.
    Relu,
    /// Maximum over a window.
    MaxPool,
    /// Residual sum.
    Add,
    /// Mean over height and width.
    GlobalAvgPool,
    /// Fully connected layer.
    Linear,
}

/// One layer as a person counts them.
#[derive(Clone, Debug)]
pub struct Layer {
    /// PyTorch's module name, such as `layer2.0.conv1`.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
    /// Its window, for convolutions and poolings.
    pub window: Option<Window>,
    /// What it computes.
    pub output: TensorId,
    /// Elements of its weights and biases.
    pub params: usize,
    /// Multiply-adds of convolutions and the linear layer.
    pub macs: usize,
}

/// A network in a graph.
#[derive(Clone, Debug)]
pub struct Network {
    /// `[n, 1, 1, classes]`.
    pub logits: TensorId,
    /// Every parameter and running statistic, in PyTorch's order.
    pub params: Vec<Param>,
    /// Every layer in order of execution.
    pub layers: Vec<Layer>,
    /// Outputs of the stages, from the finest to the coarsest.
    pub stages: Vec<TensorId>,
}
