//! 3×3 convolutions of stride 1 by Winograd's minimal filtering: tiles of 2 × 2 targets by 16 products or of 3 × 3 by
//! 25, where the definition takes 36 and 81. In f32 the root mean square of the error is 0.7 and 2.4 times that of the
//! definition summed in order. See Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
mod correlate;
mod grad_weight;
mod matrix;
mod tiles;

pub use correlate::Work;
pub use grad_weight::grad_weight;
pub use tiles::Source;

use super::pack::{self, Direction};
use super::tile::{BLOCK, SQUARE};
use crate::backend::cpu::simd::vectorized;
use crate::graph::Shape;
use matrix::{both_sides_of, taps, transposed};
use rayon::prelude::*;

/// Rows of tiles for which it pays to read a block of the weight.
pub const ROWS: usize = 64;

/// The size of a tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// `definition`'s per image. Transforming a weight costs about as much as `WEIGHT` products with it.
    pub fn choose(target: Shape, definition: usize) -> Option<Tile> {
        const WEIGHT: usize = 40;
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
            vectorized(
                #[inline(always)]
                || match tile {
                    Tile::Two => transform_weight::<4>(&taps, u, stride),
                    Tile::Three => transform_weight::<5>(&taps, u, stride),
                },
            );
        }
    });
}

/// Transforms each of the numbers that the nine taps have, to `P²` places `stride` apart.
#[inline(always)]
fn transform_weight<const P: usize>(w: &[[f32; SQUARE]; 9], u: &mut [f32], stride: usize) {
    for i in 0..SQUARE {
        let grid = [0, 3, 6].map(|y| [0, 1, 2].map(|x| w[y + x][i]));
        let points = both_sides_of(const { taps::<P>() }, grid);
        for (point, value) in points.as_flattened().iter().enumerate() {
            u[point * stride + i] = *value;
        }
    }
}

/// `Gᵀ·dU·G`, the adjoint of what [`weight`] does to a tap: turns the blocks of `stride` numbers that a tile's points
/// have into 9, in place.
pub fn transform_sums(tile: Tile, du: &mut [f32], stride: usize) {
    vectorized(
        #[inline(always)]
        || match tile {
            Tile::Two => collect::<4>(du, stride),
            Tile::Three => collect::<5>(du, stride),
        },
    );
}

#[inline(always)]
fn collect<const P: usize>(du: &mut [f32], stride: usize) {
    for at in 0..stride {
        let points: [[f32; P]; P] =
            std::array::from_fn(|y| std::array::from_fn(|x| du[(y * P + x) * stride + at]));
        let sums = both_sides_of(const { transposed(taps::<P>()) }, points);
        for (tap, value) in sums.as_flattened().iter().enumerate() {
            du[tap * stride + at] = *value;
        }
    }
}
