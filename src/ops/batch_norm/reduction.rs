//! What the files of BatchNorm share: the names of their shaders, how reductions are cut, and a check.
use crate::ops::wgsl::{Wgsl, wgsl};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// The reductions.
pub const SHADER: Wgsl = wgsl!("batch_norm");
/// What is done to every element.
pub const SHADER_APPLY: Wgsl = wgsl!("batch_norm_apply");

/// Channels that one workgroup of the reductions' first stage covers; it has 8 rows of as many invocations.
const GROUP_CHANNELS: usize = 32;

/// Channels that one workgroup of the second stage covers; it has 32 rows of as many invocations.
pub const FINISH_CHANNELS: usize = 8;

/// The most blocks of a reduction's first stage.
pub const MAX_BLOCKS: usize = 256;

/// Checks that every tensor is f32 with one element per channel of `x`.
pub fn per_channel(x: TensorDesc, tensors: &[TensorDesc]) -> Result<()> {
    let want = TensorDesc::f32(Shape::channels(x.shape.c()));
    for t in tensors {
        ensure!(*t == want, "{x} needs {want} per channel, not {t}");
    }
    Ok(())
}

/// Blocks of the first stage of a reduction over a tensor of this shape.
pub fn blocks(shape: Shape, images_per_block: usize) -> usize {
    shape.n().div_ceil(images_per_block)
}

/// The kernel's parameters for a reduction's first stage, and its number of workgroups.
pub fn reduction(x: Shape, images_per_block: usize) -> (Vec<u32>, usize) {
    let rows_per_block = images_per_block * x.rows() / x.n();
    let channel_groups = x.c().div_ceil(GROUP_CHANNELS);
    let blocks = blocks(x, images_per_block);
    let params = [x.rows(), x.c(), rows_per_block, channel_groups, blocks].map(|p| p as u32);
    (params.to_vec(), blocks * channel_groups)
}
