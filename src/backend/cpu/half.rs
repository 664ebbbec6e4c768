//! Tensors of f16 or bfloat16 on the CPU, whose kernels know only f32: inputs are widened before a kernel and results
//! rounded to the nearest after it. It makes the reference that GPUs are held against, not a fast path.
use super::bf16;
use super::simd::vectorized;
use crate::graph::{DType, TensorDesc};
use crate::ops::View;
use half::{f16, slice::HalfBitsSliceExt, slice::HalfFloatSliceExt};
use rayon::prelude::*;

/// Elements per task.
const BLOCK: usize = 16_384;

/// Whether the elements of a tensor have 16 bits.
fn is_half(desc: TensorDesc) -> bool {
    matches!(desc.dtype, DType::F16 | DType::Bf16)
}

/// The same tensor in f32, if its elements have 16 bits.
pub fn widened(view: &View) -> Option<Vec<f32>> {
    if !is_half(view.desc) {
        return None;
    }
    let from: &[u16] = bytemuck::cast_slice(view.bytes);
    let mut to = vec![0.0; from.len()];
    to.par_chunks_mut(BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(to, from)| match view.desc.dtype {
            DType::Bf16 => vectorized(
                #[inline(always)]
                || bf16::widen_all(from, to),
            ),
            _ => from.reinterpret_cast::<f16>().convert_to_f32_slice(to),
        });
    Some(to)
}

/// Room for the f32 results of a tensor, if its elements have 16 bits.
pub fn room(desc: TensorDesc) -> Option<Vec<f32>> {
    is_half(desc).then(|| vec![0.0; desc.shape.len()])
}

/// Bytes of a tensor in f32, if its elements have 16 bits: what a kernel that reads or writes it takes.
pub fn scratch(desc: TensorDesc) -> u64 {
    match is_half(desc) {
        true => TensorDesc::f32(desc.shape).bytes() as u64,
        false => 0,
    }
}

/// Stores f32 results in 16 bits as `dtype` says, rounded to the nearest; too large ones become infinite.
pub fn round(from: &[f32], dtype: DType, bytes: &mut [u8]) {
    let to: &mut [u16] = bytemuck::cast_slice_mut(bytes);
    to.par_chunks_mut(BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(to, from)| match dtype {
            DType::Bf16 => vectorized(
                #[inline(always)]
                || bf16::round_all(from, to),
            ),
            _ => to
                .reinterpret_cast_mut::<f16>()
                .convert_from_f32_slice(from),
        });
}
