//! How the rows of a result are cut into tiles, and whole images into units that a dispatch may be
//! cut between: a unit owns whole tiles, so that a cut changes neither the tiles nor their order.
use crate::tensor::Shape;

/// Tiles of a unit from which on a ragged last one costs little.
const ENOUGH: usize = 16;

/// The cut of a matrix that has `rows_per_image` rows for each image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Blocks {
    rows_per_image: usize,
    tile: usize,
    /// Images whose rows are tiled together.
    pub images_per_unit: usize,
}

impl Blocks {
    /// Tiles of `tile` rows, a power of two. A unit is the fewest images that fill whole tiles, or
    /// as many as make a ragged tile at its end cheap.
    pub fn new(rows_per_image: usize, tile: usize) -> Blocks {
        let shared = 1 << rows_per_image.trailing_zeros().min(tile.trailing_zeros());
        Blocks {
            rows_per_image,
            tile,
            images_per_unit: (tile / shared).min((ENOUGH * tile).div_ceil(rows_per_image)),
        }
    }

    /// The cut of the pixels of images of this shape.
    pub fn of_pixels(shape: Shape, tile: usize) -> Blocks {
        Blocks::new(shape.with_n(1).rows(), tile)
    }

    /// Rows of a unit.
    pub fn rows_per_unit(self) -> usize {
        self.images_per_unit * self.rows_per_image
    }

    /// Tiles of a unit.
    pub fn per_unit(self) -> usize {
        self.rows_per_unit().div_ceil(self.tile)
    }

    /// Units of `n` images; the last may be shorter.
    pub fn units(self, n: usize) -> usize {
        n.div_ceil(self.images_per_unit)
    }

    /// Tiles of `n` images.
    pub fn count(self, n: usize) -> usize {
        let whole = n / self.images_per_unit;
        let rest = n % self.images_per_unit * self.rows_per_image;
        whole * self.per_unit() + rest.div_ceil(self.tile)
    }
}
