//! Tensors of f16 on the CPU, whose kernels do not know it, and of bfloat16 where a kernel does not: inputs are widened
//! to f32 before it and results rounded to the nearest after it. It makes the reference that GPUs are held against, not
//! a fast path. Of a fused step in bfloat16 only the batch's images and the pooling of the last ones take this way, which
//! are small; unfused also BatchNorm's sums, a bias's gradient and the pooling of the first.
use crate::kernels::bf16;
use crate::kernels::simd::vectorized;
use crate::ops::OpDef;
use crate::tensor::{DType, TensorDesc};
use half::{f16, slice::HalfBitsSliceExt, slice::HalfFloatSliceExt};
use rayon::prelude::*;

/// Elements per task.
const BLOCK: usize = 16_384;

/// Whether an op must see a tensor in f32 whose elements have 16 bits.
fn is_widened(op: &dyn OpDef, desc: TensorDesc) -> bool {
    match desc.dtype {
        DType::F16 => true,
        DType::Bf16 => !op.takes_bf16(),
        _ => false,
    }
}

/// The same tensor in f32, if the op must see it so. Of a result these are the old contents, of which a piece of a
/// dispatch may leave some.
pub fn widened(op: &dyn OpDef, desc: TensorDesc, bytes: &[u8]) -> Option<Vec<f32>> {
    if !is_widened(op, desc) {
        return None;
    }
    let from: &[u16] = bytemuck::cast_slice(bytes);
    let mut to = vec![0.0; from.len()];
    to.par_chunks_mut(BLOCK)
        .zip(from.par_chunks(BLOCK))
        .for_each(|(to, from)| match desc.dtype {
            DType::Bf16 => vectorized(
                #[inline(always)]
                || bf16::widen_all(from, to),
            ),
            _ => from.reinterpret_cast::<f16>().convert_to_f32_slice(to),
        });
    Some(to)
}

/// Bytes of a tensor in f32, if the op must see it so: what its kernel takes beside the tensor.
pub fn scratch(op: &dyn OpDef, desc: TensorDesc) -> u64 {
    match is_widened(op, desc) {
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
