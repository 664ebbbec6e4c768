//! From the description of a ResNet to nodes of a graph, with PyTorch's names for every parameter.
mod arch;
mod build;
mod frozen;
mod grow;
mod init;
mod network;
mod params;
mod recognise;
mod residual;
mod shapes;
pub mod zoo;

pub use arch::{Arch, Block, MOST_BLOCKS, Stage, Stem};
pub use build::{build, describe, residual};
pub use frozen::Frozen;
pub use grow::grow;
pub use init::{initialise, zero_residuals};
pub use network::{Layer, LayerKind, Mode, Network};
pub use params::{Param, Role};
pub use recognise::{Shapes, recognise, recognise_body};
pub use residual::Residual;
pub use shapes::{Order, Row, summary, table};
