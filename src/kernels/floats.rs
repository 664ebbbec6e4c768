//! Images as the kernels read and write them: f32 as it stands, bfloat16 a row at a time, widened into or rounded from
//! a row of f32 that stays in the L1 cache. What computes sees f32 only.
use super::bf16::{round_all, widen_all};
use fearless_simd::prelude::*;
use std::ops::Range;

/// Numbers to read.
#[derive(Clone, Copy, Debug)]
pub enum Floats<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// The bits of bfloat16.
    Bf16(&'a [u16]),
}

/// Numbers to write.
#[derive(Debug)]
pub enum FloatsMut<'a> {
    /// In single precision.
    F32(&'a mut [f32]),
    /// The bits of bfloat16.
    Bf16(&'a mut [u16]),
}

impl<'a> Floats<'a> {
    /// Some of the numbers.
    #[inline(always)]
    pub fn slice(self, range: Range<usize>) -> Floats<'a> {
        match self {
            Floats::F32(x) => Floats::F32(&x[range]),
            Floats::Bf16(x) => Floats::Bf16(&x[range]),
        }
    }

    /// Copies all numbers.
    #[inline(always)]
    pub fn copy_to(self, to: &mut [f32]) {
        match self {
            Floats::F32(x) => to.copy_from_slice(x),
            Floats::Bf16(x) => widen_all(x, to),
        }
    }

    /// Some of the numbers: as they stand, or widened into `room`, which must have as many places for bfloat16.
    #[inline(always)]
    pub fn row<'r>(self, range: Range<usize>, room: &'r mut [f32]) -> &'r [f32]
    where
        'a: 'r,
    {
        match self {
            Floats::F32(x) => &x[range],
            Floats::Bf16(x) => {
                let room = &mut room[..range.len()];
                widen_all(&x[range], room);
                room
            }
        }
    }
}

impl<'a> FloatsMut<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            FloatsMut::F32(y) => y.len(),
            FloatsMut::Bf16(y) => y.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts them into pieces of `len`, the last of what is left.
    pub fn chunks(self, len: usize) -> Vec<FloatsMut<'a>> {
        match self {
            FloatsMut::F32(y) => y.chunks_mut(len).map(FloatsMut::F32).collect(),
            FloatsMut::Bf16(y) => y.chunks_mut(len).map(FloatsMut::Bf16).collect(),
        }
    }

    /// Lets `work` write some of the numbers: where they stand, or into `room`, of which they are rounded. It must
    /// write all of them, and `room` have as many places for bfloat16.
    #[inline(always)]
    pub fn write(&mut self, range: Range<usize>, room: &mut [f32], work: impl FnOnce(&mut [f32])) {
        match self {
            FloatsMut::F32(y) => work(&mut y[range]),
            FloatsMut::Bf16(y) => {
                let room = &mut room[..range.len()];
                work(room);
                round_all(room, &mut y[range]);
            }
        }
    }
}

/// A vector that begins with some numbers of bfloat16 and ends in zeros.
#[inline(always)]
pub fn widened_vector<S: Simd>(s: S, from: &[u16]) -> S::f32s {
    // No vector of f32 is longer.
    let mut lanes = [0.0; 16];
    widen_all(from, &mut lanes[..from.len()]);
    S::f32s::from_slice(s, &lanes[..S::f32s::LEN])
}
