//! The transforms of the weight and of its gradient.
use super::tile::{WinogradTile, put, vector};
use super::{filter, tiles};
use crate::kernels::conv::block::{BLOCK, SQUARE};
use crate::kernels::conv::micro_f32::Used;
use crate::kernels::conv::pack::{self, Direction};
use crate::kernels::simd::level;
use crate::tensor::Shape;
use fearless_simd::{dispatch, prelude::*};
use rayon::prelude::*;

/// Transforms a weight `[3, 3, c_in, c_out]` into `[block of targets][point][block of sources][32][32]`: `G·w·Gᵀ`.
/// Backwards, w is turned by 180 degrees.
pub fn weight(
    tile: WinogradTile,
    w: &[f32],
    shape: Shape,
    direction: Direction,
    packed: &mut [f32],
) {
    let blocks = direction.sources(shape).div_ceil(BLOCK);
    let targets = packed.par_chunks_mut(tile.points() * blocks * SQUARE);
    targets.enumerate().for_each(|(target, packed)| {
        let mut taps = [[0.0; SQUARE]; 9];
        for source in 0..blocks {
            for (i, to) in taps.iter_mut().enumerate() {
                let tap = match direction {
                    Direction::Forward => i,
                    Direction::Backward => 8 - i,
                };
                pack::square(w, shape, direction, tap, [source, target], to);
            }
            let (u, stride) = (&mut packed[source * SQUARE..], blocks * SQUARE);
            dispatch!(level(), s => match tile {
                WinogradTile::Two => transform_weight::<_, 4>(s, &taps, u, stride),
                WinogradTile::Three => transform_weight::<_, 5>(s, &taps, u, stride),
            });
        }
    });
}

/// Transforms each of the numbers that the nine taps have, to `P²` places `stride` apart.
fn transform_weight<S: Simd, const P: usize>(
    s: S,
    w: &[[f32; SQUARE]; 9],
    u: &mut [f32],
    stride: usize,
) {
    s.vectorize(
        #[inline(always)]
        || {
            for i in (0..SQUARE).step_by(S::f32s::LEN) {
                let mut rows = [[S::f32s::splat(s, 0.0); P]; 3];
                for (y, row) in rows.iter_mut().enumerate() {
                    for (tap, w) in row.iter_mut().zip(&w[3 * y..3 * y + 3]) {
                        *tap = vector(s, w, i);
                    }
                    filter::taps(s, row);
                }
                for x in 0..P {
                    let mut column = [S::f32s::splat(s, 0.0); P];
                    for (tap, row) in column.iter_mut().zip(&rows) {
                        *tap = row[x];
                    }
                    filter::taps(s, &mut column);
                    for (y, value) in column.into_iter().enumerate() {
                        put::<S>(value, u, (y * P + x) * stride + i);
                    }
                }
            }
        },
    );
}

/// `Gᵀ·dU·G`, the adjoint of what [`weight`] does to a tap: turns the blocks of `stride` numbers that a tile's points
/// have into 9, in place, as far as squares are in use.
pub fn transform_sums(tile: WinogradTile, du: &mut [f32], stride: usize, used: Used) {
    dispatch!(level(), s => match tile {
        WinogradTile::Two => collect::<_, 4>(s, du, stride, used),
        WinogradTile::Three => collect::<_, 5>(s, du, stride, used),
    });
}

fn collect<S: Simd, const P: usize>(s: S, du: &mut [f32], stride: usize, [height, width]: Used) {
    s.vectorize(
        #[inline(always)]
        || {
            for i in (0..stride).step_by(S::f32s::LEN) {
                if i % BLOCK >= width || i % SQUARE / BLOCK >= height {
                    continue;
                }
                let mut rows = [[S::f32s::splat(s, 0.0); P]; P];
                for (y, row) in rows.iter_mut().enumerate() {
                    for (x, point) in row.iter_mut().enumerate() {
                        *point = vector(s, du, (y * P + x) * stride + i);
                    }
                    filter::sums(s, row);
                }
                for x in 0..3 {
                    let mut column = tiles::column::<S, P>(&rows, x);
                    filter::sums(s, &mut column);
                    for (y, sum) in column.into_iter().enumerate().take(3) {
                        put::<S>(sum, du, (y * 3 + x) * stride + i);
                    }
                }
            }
        },
    );
}
