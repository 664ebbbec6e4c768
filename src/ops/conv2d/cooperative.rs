//! How a convolution's products are split over a GPU's subgroups where cooperative matrices multiply them.
use super::Tile;
use minijinja::{Value, context};
use std::fmt;

/// Steps of k that a kernel keeps in workgroup memory.
const DEPTH: usize = 16;

/// Numbers of f16 by which a line of factors is longer, 16 bytes: what loads of matrices are aligned to.
const PADDING: usize = 8;

/// The unit of a GPU that multiplies squares of f16 numbers and adds in f32, as kernels use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cooperative {
    /// Rows and columns of a square: 8 or 16.
    pub size: usize,
    /// Invocations that hold a square together: 32 or 64. A kernel that is run by others makes NaN.
    pub subgroup: usize,
    /// Whether plain code stands for the unit, to check everything around it on any GPU with f16.
    pub emulated: bool,
}

impl Cooperative {
    /// The most workgroup memory that a kernel takes, in bytes.
    pub const WORKGROUP_BYTES: u32 = 28_672;

    /// The relative error by which a factor is rounded: drivers may round to f16's 11 digits in any direction.
    pub const FACTOR_ERROR: f64 = 1.0 / 1024.0;

    /// Every one that there are kernels for, the larger squares first: NVIDIA's, AMD's and Apple's.
    pub fn all() -> impl Iterator<Item = Cooperative> {
        let pairs = [(16, 32), (16, 64), (8, 32)].into_iter();
        pairs.flat_map(|(size, subgroup)| {
            [false, true].map(|emulated| Cooperative {
                size,
                subgroup,
                emulated,
            })
        })
    }

    /// A name for people and files.
    pub fn label(self) -> String {
        let Cooperative { size, subgroup, .. } = self;
        let kind = match self.emulated {
            true => "emulated",
            false => "coop",
        };
        format!("{kind}{size}w{subgroup}")
    }
}

impl fmt::Display for Cooperative {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Cooperative { size, emulated, .. } = self;
        let how = if *emulated { "emulated " } else { "" };
        write!(f, "f16 by {how}{size}×{size} matrices")
    }
}

/// The numbers that `shaders/conv2d/cooperative.wgsl` and the places for it beside it are rendered with.
pub(super) fn context(tile: Tile, unit: Cooperative) -> Value {
    let Cooperative {
        size,
        subgroup,
        emulated,
    } = unit;
    let line = DEPTH + PADDING;
    // Each subgroup owns as many squares as the others, strewn over C so that every part of C that is
    // handed over at once has as many from each.
    let invocations = tile.invocations();
    let subgroups = invocations / subgroup;
    let down = tile.rows / tile.rows.min(subgroup);
    let across = subgroups / down;
    let rows = tile.rows / size / down;
    let columns = tile.columns / size / across;
    // The parts are those rows and columns that lie together for an invocation.
    let groups = tile.rows_each() / 4;
    let part = |group: usize, half: usize| {
        let (tall, wide) = (rows / groups, columns / 2);
        let square = |i: usize| {
            let (i, j) = (i / wide, i % wide);
            context! {
                row => group * tall + i,
                column => half * wide + j,
                down => i * down * size,
                right => j * across * size,
            }
        };
        let squares: Vec<Value> = (0..tall * wide).map(square).collect();
        context! { group, half, squares }
    };
    let parts: Vec<Value> = (0..2 * groups).map(|i| part(i / 2, i % 2)).collect();
    // Two vectors for each invocation to reduce, which is also a part of C.
    let reduced = 2 * invocations;
    context! {
        size,
        subgroup,
        emulated,
        line,
        line_c => tile.columns / 2,
        size_a => line * tile.rows,
        size_b => line * tile.columns,
        size_c => 2 * 4 * reduced,
        sums_b => format!(" + {}u", 4 * reduced),
        share => size * size / subgroup,
        elements => (0..size * size / subgroup).collect::<Vec<usize>>(),
        subgroups,
        down,
        across,
        rows => (0..rows).collect::<Vec<usize>>(),
        columns => (0..columns).collect::<Vec<usize>>(),
        parts,
        steps => (0..DEPTH).step_by(size).collect::<Vec<usize>>(),
    }
}
