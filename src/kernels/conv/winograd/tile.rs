//! The size of a tile, and when it pays.
use crate::kernels::conv::block::BLOCK;
use fearless_simd::prelude::*;

/// Rows of tiles for which it pays to read a block of the weight.
pub const ROWS: usize = 64;

/// What writing a number of a transformed weight is taken to cost, in products: an estimate from the bandwidth of
/// memory.
pub const WEIGHT: usize = 40;

/// The size of a tile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WinogradTile {
    Two,
    Three,
}

impl WinogradTile {
    /// Targets along each axis.
    pub fn size(self) -> usize {
        match self {
            WinogradTile::Two => 2,
            WinogradTile::Three => 3,
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

    /// The tile that takes the fewest products for `n` images `[h, w, c]`, if they are clearly fewer than the `definition`'s
    /// per image. A number of the transformed weight costs [`WEIGHT`]: batches that it decides are about as fast either
    /// way.
    pub fn choose(n: usize, [h, w]: [usize; 2], definition: usize) -> Option<WinogradTile> {
        let cost =
            |tile: &WinogradTile| tile.points() * (n * tile.across(h) * tile.across(w) + WEIGHT);
        let best = [WinogradTile::Two, WinogradTile::Three]
            .into_iter()
            .min_by_key(cost)?;
        (4 * cost(&best) < 3 * (n * definition + 9 * WEIGHT)).then_some(best)
    }

    /// Images whose tiles of one line make `rows` rows.
    pub fn images(self, width: usize, rows: usize) -> usize {
        rows.div_ceil(self.across(width))
    }
}

/// How far apart the points of `rows` rows in so many blocks stand: one row more than they need, so that those of a
/// tile do not all meet in the same set of a cache.
pub fn stride(blocks: usize, rows: usize) -> usize {
    (blocks * rows + 1) * BLOCK
}

#[inline(always)]
pub fn vector<S: Simd>(s: S, from: &[f32], at: usize) -> S::f32s {
    S::f32s::from_slice(s, &from[at..at + S::f32s::LEN])
}

#[inline(always)]
pub fn put<S: Simd>(value: S::f32s, to: &mut [f32], at: usize) {
    value.store_slice(&mut to[at..at + S::f32s::LEN]);
}
