//! The transforms of tiles, straight from the images and to them: for each of a tile's points a matrix whose rows are
//! (image, tile), in blocks of 32 channels.
use super::filter::{gradient, input, output};
use super::tile::{put, vector};
use crate::kernels::Norm;
use crate::kernels::conv::block::BLOCK;
use crate::kernels::floats::{Floats, widened_vector};
use crate::tensor::Shape;
use fearless_simd::prelude::*;
use std::ops::Range;

/// Tiles that are transformed together: of some images, those of one line.
#[derive(Clone)]
pub struct Line {
    pub images: Range<usize>,
    /// The first row of targets.
    pub y: usize,
    pub tiles: Range<usize>,
}

impl Line {
    /// Rows of the matrices.
    pub fn rows(&self) -> usize {
        self.images.len() * self.tiles.len()
    }

    /// The images and the first columns of the tiles, which have `size` columns, in the order of the rows.
    fn corners(&self, size: usize) -> impl Iterator<Item = (usize, usize)> {
        let tiles = self.tiles.clone();
        let images = self.images.clone();
        images.flat_map(move |n| tiles.clone().map(move |tile| (n, size * tile)))
    }
}

/// Images that tiles are read from.
pub struct TileSource<'a> {
    /// `[n, h, w, c]`.
    pub x: Floats<'a>,
    pub shape: Shape,
    /// Reads `max(x·scale + shift, 0)` instead of x; the padding stays zero.
    pub norm: Option<Norm<'a>>,
    /// How far before a tile's first target its first source lies.
    pub pad: usize,
    /// Blocks of channels.
    pub blocks: Range<usize>,
}

impl TileSource<'_> {
    /// How many channels of a block are in use: fewer than 32 where it is the only one.
    pub fn used(&self) -> usize {
        self.shape.c().min(BLOCK)
    }

    /// The same channels of the `size × size` pixels from `(y, x)` of image n on, positions that count the padding.
    #[inline(always)]
    fn read<S: Simd, const P: usize>(
        &self,
        s: S,
        size: usize,
        at: [usize; 3],
        channel: usize,
        activate: impl Fn(S::f32s) -> S::f32s,
    ) -> [[S::f32s; P]; P] {
        match self.x {
            Floats::F32(x) => self.pixels::<S, P>(
                s,
                size,
                at,
                channel,
                #[inline(always)]
                |at| activate(some(s, &x[at])),
            ),
            Floats::Bf16(x) => self.pixels::<S, P>(
                s,
                size,
                at,
                channel,
                #[inline(always)]
                |at| activate(widened_vector(s, &x[at])),
            ),
        }
    }

    /// [`TileSource::read`] by a function that loads a range of x, at most a vector. Everything here is to be inlined: a
    /// call would pass its vectors through memory.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize>(
        &self,
        s: S,
        size: usize,
        [n, y, x]: [usize; 3],
        channel: usize,
        load: impl Fn(Range<usize>) -> S::f32s,
    ) -> [[S::f32s; P]; P] {
        let [_, h, w, c] = self.shape.0;
        let mut pixels = [[S::f32s::splat(s, 0.0); P]; P];
        let whole = |i: usize, len: usize| i >= self.pad && i + size <= len + self.pad;
        if whole(y, h) && whole(x, w) && channel + S::f32s::LEN <= c {
            let first = ((n * h + y - self.pad) * w + x - self.pad) * c + channel;
            for (i, pixels) in pixels.iter_mut().enumerate().take(size) {
                for (j, pixel) in pixels.iter_mut().enumerate().take(size) {
                    let at = first + (i * w + j) * c;
                    *pixel = load(at..at + S::f32s::LEN);
                }
            }
            return pixels;
        }
        let lanes = c.saturating_sub(channel).min(S::f32s::LEN);
        if lanes == 0 {
            return pixels;
        }
        let inside =
            |i: usize, len: usize| [self.pad.saturating_sub(i), size.min(len + self.pad - i)];
        let ([top, bottom], [left, right]) = (inside(y, h), inside(x, w));
        for (i, pixels) in pixels.iter_mut().enumerate().take(bottom).skip(top) {
            let row = (n * h + y + i - self.pad) * w;
            for (j, pixel) in pixels.iter_mut().enumerate().take(right).skip(left) {
                let at = (row + x + j - self.pad) * c + channel;
                *pixel = load(at..at + lanes);
            }
        }
        pixels
    }
}

/// A vector that begins with some numbers and ends in zeros.
#[inline(always)]
fn some<S: Simd>(s: S, from: &[f32]) -> S::f32s {
    if from.len() == S::f32s::LEN {
        return S::f32s::from_slice(s, from);
    }
    let mut lanes = [0.0; BLOCK];
    lanes[..from.len()].copy_from_slice(from);
    S::f32s::from_slice(s, &lanes[..S::f32s::LEN])
}

/// `V = Bᵀ·d·B` of the inputs of a line's tiles, as `[point][block][row][32]`, the points `stride` apart.
#[inline(always)]
pub fn transform_input<S: Simd, const M: usize, const P: usize>(
    s: S,
    from: &TileSource,
    line: &Line,
    v: &mut [f32],
    stride: usize,
) {
    let rows = line.rows();
    for (row, (n, x)) in line.corners(M).enumerate() {
        for (block, number) in from.blocks.clone().enumerate() {
            for lane in (0..from.used()).step_by(S::f32s::LEN) {
                let (at, channel) = ([n, line.y, x], number * BLOCK + lane);
                let mut d = match activation(s, from, channel) {
                    None => from.read::<S, P>(
                        s,
                        P,
                        at,
                        channel,
                        #[inline(always)]
                        |d| d,
                    ),
                    Some([scale, shift]) => from.read::<S, P>(
                        s,
                        P,
                        at,
                        channel,
                        #[inline(always)]
                        |d| {
                            let z = d.mul_add(scale, shift);
                            // Unlike `max`, the comparison lets a NaN through.
                            let zero = S::f32s::splat(s, 0.0);
                            z.simd_lt(zero).select(zero, z)
                        },
                    ),
                };
                for row in &mut d {
                    input(s, row);
                }
                let to = &mut v[(block * rows + row) * BLOCK + lane..];
                for x in 0..P {
                    let mut column = column::<S, P>(&d, x);
                    input(s, &mut column);
                    put_column::<S, P>(column, x, to, stride);
                }
            }
        }
    }
}

/// Scale and shift of channels `channel …`; lanes that are no channels have zeros.
#[inline(always)]
fn activation<S: Simd>(s: S, from: &TileSource, channel: usize) -> Option<[S::f32s; 2]> {
    let norm = from.norm?;
    Some([norm.scale, norm.shift].map(|row| {
        let row = &row[channel.min(row.len())..];
        some(s, &row[..row.len().min(S::f32s::LEN)])
    }))
}

/// `A·dy·Aᵀ` of the gradients of a line's tiles, the adjoint of [`transform_output`]; places as [`transform_input`]'s.
#[inline(always)]
pub fn transform_gradient<S: Simd, const M: usize, const P: usize>(
    s: S,
    from: &TileSource,
    line: &Line,
    m: &mut [f32],
    stride: usize,
) {
    let rows = line.rows();
    for (row, (n, x)) in line.corners(M).enumerate() {
        for (block, number) in from.blocks.clone().enumerate() {
            for lane in (0..from.used()).step_by(S::f32s::LEN) {
                let at = [n, line.y, x];
                let mut dy = from.read::<S, P>(
                    s,
                    M,
                    at,
                    number * BLOCK + lane,
                    #[inline(always)]
                    |dy| dy,
                );
                for row in &mut dy[..M] {
                    gradient(s, row);
                }
                let to = &mut m[(block * rows + row) * BLOCK + lane..];
                for x in 0..P {
                    let mut column = column::<S, P>(&dy, x);
                    gradient(s, &mut column);
                    put_column::<S, P>(column, x, to, stride);
                }
            }
        }
    }
}

/// `Y = Aᵀ·M·A` of the products of a line's tiles, `[point][row][32]` with points `stride` apart, into block `block` of
/// the channels of the images `[n, h, w, c]`, the first row of the tiles at row `top`, as far as the tiles lie inside.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "where from and where to")]
pub fn transform_output<S: Simd, const M: usize, const P: usize>(
    s: S,
    m: &[f32],
    stride: usize,
    line: &Line,
    block: usize,
    y: &mut [f32],
    shape: Shape,
    top: usize,
) {
    let [_, h, w, c] = shape.0;
    for (row, (n, x)) in line.corners(M).enumerate() {
        let lanes = (c - block * BLOCK).min(BLOCK);
        for lane in (0..lanes).step_by(S::f32s::LEN) {
            let m = &m[row * BLOCK + lane..];
            let mut tile = [[S::f32s::splat(s, 0.0); P]; M];
            for x in 0..P {
                let mut column = [S::f32s::splat(s, 0.0); P];
                for (y, product) in column.iter_mut().enumerate() {
                    *product = vector(s, m, (y * P + x) * stride);
                }
                output(s, &mut column);
                for (row, value) in tile.iter_mut().zip(column) {
                    row[x] = value;
                }
            }
            for row in &mut tile {
                output(s, row);
            }
            let len = (lanes - lane).min(S::f32s::LEN);
            for (i, tile) in tile.iter().enumerate().take(M) {
                if top + i >= h {
                    continue;
                }
                let first = ((n * h + top + i) * w + x) * c + block * BLOCK + lane;
                for (j, value) in tile.iter().enumerate().take(M) {
                    if x + j >= w {
                        continue;
                    }
                    let to = &mut y[first + j * c..][..len];
                    match len == S::f32s::LEN {
                        true => value.store_slice(to),
                        false => to.copy_from_slice(&value.as_slice()[..len]),
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub fn column<S: Simd, const P: usize>(rows: &[[S::f32s; P]; P], x: usize) -> [S::f32s; P] {
    let mut column = [rows[0][x]; P];
    for (value, row) in column.iter_mut().zip(rows) {
        *value = row[x];
    }
    column
}

/// Writes column `x` of a tile's points.
#[inline(always)]
fn put_column<S: Simd, const P: usize>(
    column: [S::f32s; P],
    x: usize,
    to: &mut [f32],
    stride: usize,
) {
    for (y, value) in column.into_iter().enumerate() {
        put::<S>(value, to, (y * P + x) * stride);
    }
}
