//! What the CPU computes with: convolutions, vectors, bfloat16 and how exactly matrices are multiplied. Kernels know
//! slices and shapes, and no ops, graphs or plans.
#![allow(unsafe_code)]

pub mod bf16;
pub mod conv;
mod detect;
pub mod floats;
mod norm;
pub mod precision;
pub mod simd;
mod window;

pub use norm::{MOMENTS, Norm};
pub use precision::CpuContext;
pub use window::Window;
