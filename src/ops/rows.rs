//! Element-wise kernels over images on the CPU, whatever these are stored as.
use super::{BLOCK, View, ViewMut};
use crate::kernels::bf16::round_all;
use crate::kernels::floats::{Floats, FloatsMut};
use crate::kernels::simd::vectorized;
use rayon::prelude::*;

/// Elements of bfloat16 that are widened at a time: 4 KiB of f32 per tensor.
const WIDENED: usize = 1024;

/// Makes y of inputs of its shape: `work(y, inputs)` sees some whole rows of `c` elements of each in f32, and nothing of
/// an input that is not there. It must write all of y.
pub fn map_rows<const N: usize>(
    y: &mut ViewMut,
    inputs: [Option<&View>; N],
    work: impl Fn(&mut [f32], [&[f32]; N]) + Sync,
) {
    let c = y.shape().c();
    let inputs = inputs.map(|x| x.map(View::floats));
    let block = BLOCK.next_multiple_of(c);
    let blocks = y.floats().chunks(block);
    blocks.into_par_iter().enumerate().for_each(|(i, y)| {
        let first = i * block;
        vectorized(
            #[inline(always)]
            || match y {
                FloatsMut::F32(y) => {
                    let part = first..first + y.len();
                    let read = inputs.map(|x| match x {
                        Some(Floats::F32(x)) => &x[part.clone()],
                        _ => &[],
                    });
                    work(y, read);
                }
                FloatsMut::Bf16(y) => {
                    let some = WIDENED.next_multiple_of(c);
                    let mut room = vec![0.0; some];
                    let mut rooms = [(); N].map(|()| vec![0.0; some]);
                    for (j, y) in y.chunks_mut(some).enumerate() {
                        let part = first + j * some..first + j * some + y.len();
                        let mut rooms = rooms.iter_mut();
                        let read = inputs.map(|x| {
                            let room = rooms.next().expect("one per input");
                            x.map_or(&[][..], |x| x.row(part.clone(), room))
                        });
                        work(&mut room[..y.len()], read);
                        round_all(&room[..y.len()], y);
                    }
                }
            },
        );
    });
}
