//! 3×3 convolutions of stride 1 by Winograd's minimal filtering: tiles of 2 × 2 targets by 16 products or of 3 × 3 by
//! 25, where the definition takes 36 and 81. In f32 the root mean square of the error is 0.7 and 2.4 times that of the
//! definition summed in order. See Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
mod correlate;
mod filter;
mod grad_weight;
#[cfg(test)]
mod tests;
mod tiles;

pub use correlate::Work;
pub use grad_weight::grad_weight;
pub use tiles::Source;

use crate::kernels::conv::micro_f32::{BLOCK, SQUARE};
use crate::kernels::conv::pack::{self, Direction};
use crate::kernels::simd::level;
use crate::tensor::Shape;
use fearless_simd::{dispatch, prelude::*};
use rayon::prelude::*;

/// Rows of tiles for which it pays to read a block of the weight.
pub const ROWS: usize = 64;

/// What writing a number of a transformed weight is taken to cost, in products: an estimate from the bandwidth of
/// memory.
pub const WEIGHT: usize = 40;

/// The size of a tile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tile {
    Two,
    Three,
}

impl Tile {
    /// Targets along each axis.
    pub fn size(self) -> usize {
        match self {
            Tile::Two => 2,
            Tile::Three => 3,
        }
    }

    /// Products per tile.
    pub fn points(self) -> usize {
        (self.size() + 2).pow(2)
    }

    /// Tiles along an axis; the last may overhang.
    pub fn across(self, targets: usize) -> usize {
        targets.div_ceil(self.size())
    }

    /// The tile that takes the fewest products for images `[n, h, w, c]`, if they are clearly fewer than the
    /// `definition`'s per image. A number of the transformed weight costs [`WEIGHT`]: batches that it decides are about
    /// as fast either way.
    pub fn choose(target: Shape, definition: usize) -> Option<Tile> {
        let [n, h, w, _] = target.0;
        let cost = |tile: &Tile| tile.points() * (n * tile.across(h) * tile.across(w) + WEIGHT);
        let best = [Tile::Two, Tile::Three].into_iter().min_by_key(cost)?;
        (4 * cost(&best) < 3 * (n * definition + 9 * WEIGHT)).then_some(best)
    }

    /// Images whose tiles of one line make `rows` rows.
    pub fn images(self, width: usize, rows: usize) -> usize {
        rows.div_ceil(self.across(width))
    }
}

/// How far apart the points of `rows` rows in so many blocks stand: one row more than they need, so that those of a
/// tile do not all meet in the same set of a cache.
fn stride(blocks: usize, rows: usize) -> usize {
    (blocks * rows + 1) * BLOCK
}

/// Transforms a weight `[3, 3, c_in, c_out]` into `[block of targets][point][block of sources][32][32]`: `G·w·Gᵀ`.
/// Backwards, w is turned by 180 degrees.
pub fn weight(tile: Tile, w: &[f32], shape: Shape, direction: Direction, packed: &mut [f32]) {
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
                Tile::Two => transform_weight::<_, 4>(s, &taps, u, stride),
                Tile::Three => transform_weight::<_, 5>(s, &taps, u, stride),
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
/// have into 9, in place.
pub fn transform_sums(tile: Tile, du: &mut [f32], stride: usize) {
    dispatch!(level(), s => match tile {
        Tile::Two => collect::<_, 4>(s, du, stride),
        Tile::Three => collect::<_, 5>(s, du, stride),
    });
}

fn collect<S: Simd, const P: usize>(s: S, du: &mut [f32], stride: usize) {
    s.vectorize(
        #[inline(always)]
        || {
            for i in (0..stride).step_by(S::f32s::LEN) {
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

#[inline(always)]
fn vector<S: Simd>(s: S, from: &[f32], at: usize) -> S::f32s {
    S::f32s::from_slice(s, &from[at..at + S::f32s::LEN])
}

#[inline(always)]
fn put<S: Simd>(value: S::f32s, to: &mut [f32], at: usize) {
    value.store_slice(&mut to[at..at + S::f32s::LEN]);
}
