//! `resnet` trains ResNets through its own WGSL kernels on a GPU, or natively on the CPU.
//!
//! The way of the data, which no import follows backwards:
//!
//! ```text
//! cli ─► config ─► data ─► model ─► graph ─► autodiff ─► fuse ─► plan ─► backend{cpu,gpu} ─► train ─► report
//! ```
//!
//! # Invariants
//!
//! 1. One node is one dispatch, or its chunks along N. A split reduction is two nodes.
//! 2. A buffer that a dispatch writes is not also bound by it for reading; states are updated in place.
//! 3. Kernels need at most 8 storage bindings, 16 KiB of workgroup memory and 256 invocations:
//!    what WebGPU guarantees everywhere.
//! 4. `wgpu` is named only in `backend::gpu`.
//! 5. Files are touched only by `config`, `data`, `train::{checkpoint, folder}`, `verify`, `report` and the
//!    caches of compiled kernels and of tilings, `backend::gpu`, and written only through `files`.
//! 6. The gradient of BatchNorm is complete: the path through mean and variance is in it.
//! 7. Every op has a CPU kernel, a GPU kernel, a golden from PyTorch, a finite-difference check away
//!    from kinks, and a CPU-against-GPU check.
pub mod backend;
pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod files;
pub mod graph;
pub mod kernels;
pub mod model;
pub mod ops;
pub mod plan;
pub mod report;
pub mod tensor;
pub mod train;
pub mod verify;
