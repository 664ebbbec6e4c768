//! A network as a graph of tensors and nodes, its differentiation and its fusion. Both append nodes to the same graph.
mod autodiff;
mod fuse;
mod ir;

pub use autodiff::{Gradients, backward};
pub use fuse::{fuse, retile};
pub use ir::{Graph, Kind, Node, Tensor, TensorId};
