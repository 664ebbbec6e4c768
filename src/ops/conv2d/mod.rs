//! 2-d convolution: `y[n,oy,ox,co] = b[co] + Σ x[n, oy·stride + ky − pad, ox·stride + kx − pad, ci] · w[ky,kx,ci,co]`
//! over `ky, kx, ci`, where x outside the image is zero, in `forward.rs`. Its gradients are in `grad_input.rs`,
//! `grad_weight.rs` and `bias.rs`; images of few channels have kernels of their own, in `stem.rs`.
mod bias;
mod blocks;
mod cooperative;
mod forward;
mod grad_input;
mod grad_weight;
mod mask;
mod shared;
mod stem;
mod template;
mod tile;

pub use bias::Conv2dGradBias;
pub use cooperative::Cooperative;
pub use forward::Conv2d;
pub use grad_input::Conv2dGradInput;
pub use grad_weight::Conv2dGradWeight;
pub use mask::Mask;
pub use stem::StemKernel;
pub use template::{ConvKernel, ConvPass};
pub use tile::Tile;

pub(super) use grad_weight::images_per_split;
pub(super) use template::render;
pub(super) use tile::WORKGROUPS;
