//! The part of a matrix product that one workgroup computes. Unless it was tuned it is chosen by the
//! shapes alone: the order of summation, and so every bit of a result, is the same on all devices of a kind.
use std::fmt;

/// Workgroups that keep a large GPU busy.
pub const WORKGROUPS: usize = 256;

/// Rows × columns of the result of one workgroup.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tile {
    /// Rows, a multiple of 32.
    pub rows: usize,
    /// Columns, a multiple of 32.
    pub columns: usize,
}

impl Tile {
    /// What a weight's gradient is computed in by the shapes alone: splitting it fills a GPU, and larger
    /// tiles would need more splits.
    pub const SQUARE: Tile = Tile::new(64, 64);

    /// From the one that reads least of its operands to the one that makes the most workgroups.
    pub const ALL: [Tile; 4] = [
        Tile::new(128, 128),
        Tile::new(128, 64),
        Tile::SQUARE,
        Tile::new(32, 64),
    ];

    const fn new(rows: usize, columns: usize) -> Tile {
        Tile { rows, columns }
    }

    /// The largest tile for a result of `rows` × `columns` that fits its columns and of which there are
    /// enough to fill a GPU, or else the smallest.
    pub fn of(rows: usize, columns: usize) -> Tile {
        let enough = |tile: &Tile| {
            tile.columns <= columns.next_multiple_of(64)
                && rows.div_ceil(tile.rows) * columns.div_ceil(tile.columns) >= WORKGROUPS
        };
        let [.., smallest] = Tile::ALL;
        Tile::ALL.into_iter().find(enough).unwrap_or(smallest)
    }

    /// Workgroups for a result of so many tiles of rows and so many columns.
    pub(super) fn groups(self, row_tiles: usize, columns: usize) -> usize {
        row_tiles * columns.div_ceil(self.columns)
    }

    /// Rows of one invocation, which has 8 columns: 8, or 4 where a workgroup would be less than 64
    /// invocations.
    pub(super) fn rows_each(self) -> usize {
        if self.rows * self.columns < 64 * 64 {
            4
        } else {
            8
        }
    }

    /// Invocations of a workgroup.
    pub(super) fn invocations(self) -> usize {
        self.rows / self.rows_each() * (self.columns / 8)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.columns)
    }
}
