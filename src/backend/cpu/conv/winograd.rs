//! 3×3 convolutions of stride 1 by Winograd's minimal filtering F(2×2, 3×3): 16 products make 4 outputs, where the
//! definition takes 36. All transforms are sums and halves, so the error grows by a factor of about two only.
//! See Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
use super::axis::Axis;
use super::correlate::{CACHED, Correlate};
use super::pack::{self, Direction, Rows};
use super::tile::{BLOCK, SQUARE, multiply};
use super::work::Work;
use super::{PRODUCTS, lend};
use crate::backend::cpu::simd::vectorized;
use crate::graph::Shape;
use fearless_simd::prelude::*;
use rayon::prelude::*;
use std::ops::Range;

/// Products per tile.
pub const POINTS: usize = 16;

/// Rows of tiles for which it pays to read a block of the weight.
const ROWS: usize = 48;

/// Transforms a weight `[3, 3, c_in, c_out]` into `[block of targets][point][block of sources][32][32]`: `G·w·Gᵀ`
/// with the rows (1, 0, 0), (½, ½, ½), (½, −½, ½), (0, 0, 1) of G. Backwards, w is turned by 180 degrees.
pub fn weight(w: &[f32], shape: Shape, direction: Direction, packed: &mut [f32]) {
    let blocks = direction.sources(shape).div_ceil(BLOCK);
    let targets = packed.par_chunks_mut(POINTS * blocks * SQUARE).enumerate();
    targets.for_each(|(target, packed)| {
        let mut taps = [[0.0; SQUARE]; 9];
        for source in 0..blocks {
            for (i, to) in taps.iter_mut().enumerate() {
                let tap = match direction {
                    Direction::Forward => i,
                    Direction::Backward => 8 - i,
                };
                pack::square(w, shape, direction, tap, [source, target], to);
            }
            vectorized(
                #[inline(always)]
                || transform_weight(&taps, &mut packed[source * SQUARE..], blocks * SQUARE),
            );
        }
    });
}

/// Transforms each of the numbers that the nine taps have, to 16 places `stride` apart.
#[inline(always)]
fn transform_weight(taps: &[[f32; SQUARE]; 9], u: &mut [f32], stride: usize) {
    for i in 0..SQUARE {
        let rows = [0, 1, 2].map(|y| spread([0, 1, 2].map(|x| taps[y * 3 + x][i])));
        for (x, column) in turn(rows).into_iter().enumerate() {
            for (y, value) in spread(column).into_iter().enumerate() {
                u[(y * 4 + x) * stride + i] = value;
            }
        }
    }
}

/// `G·w`.
#[inline(always)]
fn spread([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + c + b), 0.5 * (a + c - b), c]
}

/// Tiles that are transformed together, at least `rows` rows of them: as many as the cache holds, but enough for a
/// good use of the other operand.
pub fn tiles_at_once(blocks: usize, images: usize, width: usize, rows: usize) -> usize {
    let cached = CACHED / (POINTS * blocks * images * BLOCK);
    cached.max(rows.div_ceil(images)).min(width.div_ceil(2))
}

/// The four packed rows that the tiles of target rows `y` and `y + 1` see, out of a ring that ends in a row of zeros.
pub fn lines<'p>(
    conv: &Correlate,
    rows: &Rows,
    y: usize,
    ring: usize,
    packed: &'p [f32],
) -> [&'p [f32]; 4] {
    let top = y as isize + first_shift(&conv.rows);
    [0, 1, 2, 3].map(|i| {
        let y = usize::try_from(top + i);
        let y = y.ok().filter(|&y| y < conv.rows.source);
        let slot = y.map_or(ring, |y| y % ring);
        &packed[slot * rows.row_len()..][..rows.row_len()]
    })
}

/// Where the first of a tile's four rows or columns stands, counted from the tile's first target.
fn first_shift(axis: &Axis) -> isize {
    let shifts = axis.classes[0].taps.iter().map(|tap| tap.shift);
    shifts.min().expect("three taps")
}

/// Transforms `count` tiles of a line of tiles, from tile `first` on, into `[point][block][tile][image][32]`. `lines`
/// are the packed rows that the line sees.
pub fn transform_tiles<S: Simd>(
    s: S,
    conv: &Correlate,
    rows: &Rows,
    lines: [&[f32]; 4],
    [first, count]: [usize; 2],
    v: &mut [f32],
) {
    let len = rows.column_len();
    let left = rows.left.wrapping_add_signed(first_shift(&conv.columns));
    let stride = rows.blocks.len() * count * len;
    s.vectorize(
        #[inline(always)]
        || {
            for block in 0..rows.blocks.len() {
                for tile in 0..count {
                    let column = left + 2 * (first + tile);
                    let d = lines.map(|line| {
                        [0, 1, 2, 3].map(|x| &rows.from(line, 0, block, column + x)[..len])
                    });
                    transform_input(s, d, &mut v[(block * count + tile) * len..], stride);
                }
            }
        },
    );
}

/// Transforms `count` tiles of the gradient, from tile `first` on, into `[point][block][tile][image][32]`.
pub fn transform_gradients<S: Simd>(
    s: S,
    dy: &Rows,
    lines: [&[f32]; 2],
    [first, count]: [usize; 2],
    m: &mut [f32],
) {
    let len = dy.column_len();
    let stride = dy.blocks.len() * count * len;
    s.vectorize(
        #[inline(always)]
        || {
            for block in 0..dy.blocks.len() {
                for tile in 0..count {
                    let column = 2 * (first + tile);
                    let grid = lines
                        .map(|line| [0, 1].map(|x| &dy.from(line, 0, block, column + x)[..len]));
                    transform_gradient(s, grid, &mut m[(block * count + tile) * len..], stride);
                }
            }
        },
    );
}

impl Work<'_> {
    /// Computes two rows of targets.
    pub fn winograd<S: Simd>(&self, s: S, group: Range<usize>, packed: &[f32], out: &mut [f32]) {
        let Work { conv, rows, .. } = self;
        let [sources, targets] = conv.blocks();
        let len = rows.column_len();
        let width = conv.columns.target;
        let at_once = tiles_at_once(sources + targets, rows.images, width, ROWS);
        let lines = lines(conv, rows, group.start, self.ring, packed);
        let points = POINTS * at_once * len;
        lend(&PRODUCTS, points * (sources + targets), |scratch| {
            let (v, m) = scratch.split_at_mut(points * sources);
            for first in (0..width.div_ceil(2)).step_by(at_once) {
                let count = at_once.min(width.div_ceil(2) - first);
                transform_tiles(s, conv, rows, lines, [first, count], v);
                let matrix = count * len;
                let mut pairs = Vec::with_capacity(sources);
                for (point, v) in v.chunks_exact(sources * matrix).take(POINTS).enumerate() {
                    for target in 0..targets {
                        let u = &self.w[(target * POINTS + point) * sources * SQUARE..];
                        pairs.clear();
                        pairs.extend(v.chunks_exact(matrix).zip(u.chunks_exact(SQUARE)));
                        let m = &mut m[(point * targets + target) * matrix..][..matrix];
                        multiply(s, &pairs, count * rows.images, m, false);
                    }
                }
                s.vectorize(
                    #[inline(always)]
                    || self.untransform(s, group.len(), [first, count], m, out),
                );
            }
        });
    }

    /// Writes the targets of some tiles, as far as they lie inside the rows.
    #[inline(always)]
    fn untransform<S: Simd>(
        &self,
        s: S,
        height: usize,
        [first, count]: [usize; 2],
        m: &[f32],
        out: &mut [f32],
    ) {
        let targets = self.conv.blocks()[1];
        let (len, width) = (self.rows.column_len(), self.conv.columns.target);
        for target in 0..targets {
            for tile in 0..count {
                let x = 2 * (first + tile);
                let to = (target * width + x) * len;
                for i in (0..len).step_by(S::f32s::LEN) {
                    let at = (target * count + tile) * len + i;
                    let y = transform_output(s, m, targets * count * len, at);
                    for (row, y) in y.into_iter().enumerate().take(height) {
                        let to = row * self.out_len() + to + i;
                        put::<S>(y[0], out, to);
                        if x + 1 < width {
                            put::<S>(y[1], out, to + len);
                        }
                    }
                }
            }
        }
    }
}

/// Where a tile's 4 × 4 inputs or 2 × 2 outputs stand: the same channels of the same images.
type Grid<'a, const N: usize> = [[&'a [f32]; N]; N];

/// `V = Bᵀ·d·B` of every lane, to 16 places `stride` apart; Bᵀ has the rows (1, 0, −1, 0), (0, 1, 1, 0),
/// (0, −1, 1, 0), (0, 1, 0, −1).
#[inline(always)]
fn transform_input<S: Simd>(s: S, d: Grid<4>, v: &mut [f32], stride: usize) {
    for i in (0..d[0][0].len()).step_by(S::f32s::LEN) {
        let d = d.map(|row| difference::<S>(row.map(|d| vector(s, d, i))));
        for (x, column) in turn(d).into_iter().enumerate() {
            for (y, value) in difference::<S>(column).into_iter().enumerate() {
                put::<S>(value, v, (y * 4 + x) * stride + i);
            }
        }
    }
}

/// `Y = Aᵀ·M·A` of every lane, from 16 places `stride` apart; Aᵀ has the rows (1, 1, 1, 0), (0, 1, −1, −1).
#[inline(always)]
fn transform_output<S: Simd>(s: S, m: &[f32], stride: usize, at: usize) -> [[S::f32s; 2]; 2] {
    let columns = [0, 1, 2, 3].map(|x| {
        let value = |y: usize| vector::<S>(s, m, (y * 4 + x) * stride + at);
        gather::<S>([value(0), value(1), value(2), value(3)])
    });
    [0, 1].map(|y| gather::<S>(columns.map(|column| column[y])))
}

/// `A·dy·Aᵀ` of every lane, to 16 places `stride` apart: the adjoint of [`transform_output`].
#[inline(always)]
fn transform_gradient<S: Simd>(s: S, dy: Grid<2>, m: &mut [f32], stride: usize) {
    for i in (0..dy[0][0].len()).step_by(S::f32s::LEN) {
        let rows = dy.map(|row| scatter::<S>(s, row.map(|dy| vector(s, dy, i))));
        for (x, column) in turn(rows).into_iter().enumerate() {
            for (y, value) in scatter::<S>(s, column).into_iter().enumerate() {
                put::<S>(value, m, (y * 4 + x) * stride + i);
            }
        }
    }
}

/// `Gᵀ·dU·G`, the adjoint of what [`weight`] does to a tap: turns 16 blocks of `stride` numbers into 9, in place.
pub fn transform_sums(du: &mut [f32], stride: usize) {
    for at in 0..stride {
        let rows =
            [0, 1, 2, 3].map(|y| collect([0, 1, 2, 3].map(|x| du[(y * 4 + x) * stride + at])));
        for (x, column) in turn(rows).into_iter().enumerate() {
            for (y, value) in collect(column).into_iter().enumerate() {
                du[(y * 3 + x) * stride + at] = value;
            }
        }
    }
}

#[inline(always)]
fn collect([a, b, c, d]: [f32; 4]) -> [f32; 3] {
    [a + 0.5 * (b + c), 0.5 * (b - c), d + 0.5 * (b + c)]
}

/// Rows as columns.
#[inline(always)]
fn turn<T: Copy, const M: usize, const N: usize>(rows: [[T; N]; M]) -> [[T; M]; N] {
    std::array::from_fn(|x| rows.map(|row| row[x]))
}

#[inline(always)]
fn difference<S: Simd>([a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [a - c, b + c, c - b, b - d]
}

#[inline(always)]
fn gather<S: Simd>([a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [a + b + c, b - c - d]
}

#[inline(always)]
fn scatter<S: Simd>(s: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, a + b, a - b, S::f32s::splat(s, 0.0) - b]
}

#[inline(always)]
fn vector<S: Simd>(s: S, from: &[f32], at: usize) -> S::f32s {
    S::f32s::from_slice(s, &from[at..at + S::f32s::LEN])
}

#[inline(always)]
fn put<S: Simd>(value: S::f32s, to: &mut [f32], at: usize) {
    value.store_slice(&mut to[at..at + S::f32s::LEN]);
}
