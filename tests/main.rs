//! All integration tests in one binary: a table of cases, and the questions put to every case.
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

mod altered;
mod bad_input;
mod bench;
mod bf16;
mod case;
mod cases;
mod checkpoints;
mod cli;
mod cooperative;
mod device;
mod executor;
mod failure;
mod fused;
mod fused_norm;
mod fusion;
mod gather;
mod gradients;
mod graph;
mod half;
mod kept;
mod loss_scale;
mod micro;
mod micro_half;
mod micro_memory;
mod parity;
mod partials;
mod precision;
mod predict;
mod resize;
mod shaders;
mod small;
mod start;
mod training;
mod tuning;
mod values;
