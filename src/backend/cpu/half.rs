//! Tensors of f16 on the CPU, whose kernels know only f32: inputs are widened before a kernel and results
//! rounded to the nearest after it. It makes the reference that GPUs are held against, not a fast path.
use crate::graph::{DType, TensorDesc};
use crate::ops::View;
use half::{f16, slice::HalfBitsSliceExt, slice::HalfFloatSliceExt};
use rayon::prelude::*;

/// Elements per task.
const BLOCK: usize = 16_384;

/// The same tensor in f32, if it is stored as f16.
pub fn widened(view: &View) -> Option<Vec<f32>> {
    if view.desc.dtype != DType::F16 {
        return None;
    }
    let from: &[f16] = bytemuck::cast_slice::<u8, u16>(view.bytes).reinterpret_cast();
    let mut to = vec![0.0; from.len()];
    to.par_chunks_mut(BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(to, from)| from.convert_to_f32_slice(to));
    Some(to)
}

/// Room for the f32 results of a tensor, if it is stored as f16.
pub fn room(desc: TensorDesc) -> Option<Vec<f32>> {
    (desc.dtype == DType::F16).then(|| vec![0.0; desc.shape.len()])
}

/// Bytes of a tensor in f32, if it is stored as f16: what a kernel that reads or writes it takes.
pub fn scratch(desc: TensorDesc) -> u64 {
    match desc.dtype {
        DType::F16 => TensorDesc::f32(desc.shape).bytes() as u64,
        _ => 0,
    }
}

/// Stores f32 results as f16, rounded to the nearest; too large ones become infinite.
pub fn round(from: &[f32], bytes: &mut [u8]) {
    let to: &mut [f16] = bytemuck::cast_slice_mut::<u8, u16>(bytes).reinterpret_cast_mut();
    to.par_chunks_mut(BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(to, from)| to.convert_from_f32_slice(from));
}
