//! `resnet` trains ResNets through its own WGSL kernels on a GPU, or natively on the CPU.
//!
//! A run goes this way: `cli` resolves the settings (`config`); `train` loads the images (`data`), describes the network
//! (`model`), appends it to a `graph`, differentiates and fuses that, plans it (`plan`) and runs the plan on a `backend`,
//! whose CPU computes by `kernels` and whose GPU by `shaders/`; `report` tells people.
//!
//! # Imports
//!
//! An import points to the left, from room to room, and among the files of a room in no circle. `graph` and `ops` alone
//! know each other: an op's gradient rule appends nodes, and a node holds an op.
//!
//! ```text
//! process ◄ files ◄ tensor ◄ kernels ◄ graph + ops ◄ plan ◄ model ◄ data ◄ backend ◄ config ◄ train ◄ report ◄ bench
//! ◄ verify ◄ cli
//! ```
//!
//! # Invariants
//!
//! 1. One node is one dispatch, or its chunks along N. A split reduction is two nodes.
//! 2. A buffer that a dispatch writes is not also bound by it for reading; states are updated in place.
//! 3. Kernels need at most 8 storage bindings, 16 KiB of workgroup memory and 256 invocations:
//!    what WebGPU guarantees everywhere.
//! 4. `wgpu` is named only in `backend::gpu`, and `unsafe` code stands only there, in `kernels` and in `cli::signals`.
//! 5. Files are touched only by `config`, `data`, `train::{checkpoint, folder, lock}`, `verify`, `report`, the dumps of
//!    `cli::bench`, and the caches of compiled kernels and of tilings, `backend::gpu`. What is read again is written
//!    through `files`.
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
pub mod process;
pub mod report;
pub mod tensor;
pub mod train;
pub mod verify;
