//! The transforms of tiles, straight from the images and to them: for each of a tile's points a matrix whose rows are
//! (image, tile), in blocks of 32 channels.
use super::matrix::{both_sides, input, output, transposed};
use crate::backend::cpu::conv::tile::BLOCK;
use crate::graph::Shape;
use crate::ops::Norm;
use fearless_simd::prelude::*;
use std::array::from_fn;
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
pub struct Source<'a> {
    /// `[n, h, w, c]`.
    pub x: &'a [f32],
    pub shape: Shape,
    /// Reads `max(x·scale + shift, 0)` instead of x; the padding stays zero.
    pub norm: Option<Norm<'a>>,
    /// How far before a tile's first target its first source lies.
    pub pad: usize,
    /// Blocks of channels.
    pub blocks: Range<usize>,
}

impl Source<'_> {
    /// The same channels of the `N × N` pixels from `(y, x)` of image n on, positions that count the padding.
    #[inline(always)]
    fn read<S: Simd, const N: usize>(
        &self,
        s: S,
        [n, y, x]: [usize; 3],
        channel: usize,
        activate: impl Fn(S::f32s) -> S::f32s,
    ) -> [[S::f32s; N]; N] {
        let [_, h, w, c] = self.shape.0;
        let whole = |i: usize, size: usize| i >= self.pad && i + N <= size + self.pad;
        if whole(y, h) && whole(x, w) && channel + S::f32s::LEN <= c {
            let first = ((n * h + y - self.pad) * w + x - self.pad) * c + channel;
            return from_fn(|i| {
                from_fn(|j| {
                    let from = &self.x[first + (i * w + j) * c..][..S::f32s::LEN];
                    activate(S::f32s::from_slice(s, from))
                })
            });
        }
        let mut pixels = [[S::f32s::splat(s, 0.0); N]; N];
        let len = c.saturating_sub(channel).min(S::f32s::LEN);
        for i in self.pad.saturating_sub(y)..N.min((h + self.pad).saturating_sub(y)) {
            for j in self.pad.saturating_sub(x)..N.min((w + self.pad).saturating_sub(x)) {
                let pixel = (n * h + y + i - self.pad) * w + x + j - self.pad;
                let from = &self.x[pixel * c..][..c];
                if len == S::f32s::LEN {
                    let from = &from[channel..][..S::f32s::LEN];
                    pixels[i][j] = activate(S::f32s::from_slice(s, from));
                } else if len > 0 {
                    let mut lanes = [0.0; BLOCK];
                    lanes[..len].copy_from_slice(&from[channel..]);
                    pixels[i][j] = activate(S::f32s::from_slice(s, &lanes[..S::f32s::LEN]));
                }
            }
        }
        pixels
    }
}

/// `V = Bᵀ·d·B` of the inputs of a line's tiles, as `[point][block][row][32]`, the points `stride` apart.
#[inline(always)]
pub fn transform_input<S: Simd, const M: usize, const P: usize>(
    s: S,
    from: &Source,
    line: &Line,
    v: &mut [f32],
    stride: usize,
) {
    let rows = line.rows();
    for (row, (n, x)) in line.corners(M).enumerate() {
        for (block, number) in from.blocks.clone().enumerate() {
            for lane in (0..BLOCK).step_by(S::f32s::LEN) {
                let (at, channel) = ([n, line.y, x], number * BLOCK + lane);
                let d = match activation(s, from, channel) {
                    None => from.read::<S, P>(s, at, channel, |d| d),
                    Some([scale, shift]) => from.read::<S, P>(s, at, channel, |d| {
                        let z = d.mul_add(scale, shift);
                        // Unlike `max`, the comparison lets a NaN through.
                        let zero = S::f32s::splat(s, 0.0);
                        z.simd_lt(zero).select(zero, z)
                    }),
                };
                let d = both_sides(s, const { input::<P>() }, d);
                put::<S, P>(d, &mut v[(block * rows + row) * BLOCK + lane..], stride);
            }
        }
    }
}

/// Scale and shift of channels `channel …`; lanes that are no channels have zeros.
#[inline(always)]
fn activation<S: Simd>(s: S, from: &Source, channel: usize) -> Option<[S::f32s; 2]> {
    let norm = from.norm?;
    Some([norm.scale, norm.shift].map(|row| {
        let row = &row[channel.min(row.len())..];
        match row.get(..S::f32s::LEN) {
            Some(row) => S::f32s::from_slice(s, row),
            None => {
                let mut lanes = [0.0; BLOCK];
                lanes[..row.len()].copy_from_slice(row);
                S::f32s::from_slice(s, &lanes[..S::f32s::LEN])
            }
        }
    }))
}

/// `A·dy·Aᵀ` of the gradients of a line's tiles, the adjoint of [`transform_output`]; places as [`transform_input`]'s.
#[inline(always)]
pub fn transform_gradient<S: Simd, const M: usize, const P: usize>(
    s: S,
    from: &Source,
    line: &Line,
    m: &mut [f32],
    stride: usize,
) {
    let rows = line.rows();
    for (row, (n, x)) in line.corners(M).enumerate() {
        for (block, number) in from.blocks.clone().enumerate() {
            for lane in (0..BLOCK).step_by(S::f32s::LEN) {
                let dy = from.read::<S, M>(s, [n, line.y, x], number * BLOCK + lane, |dy| dy);
                let dy = both_sides(s, const { transposed(output::<M, P>()) }, dy);
                put::<S, P>(dy, &mut m[(block * rows + row) * BLOCK + lane..], stride);
            }
        }
    }
}

/// `Y = Aᵀ·M·A` of the products of a line's tiles, `[point][row][32]` with points `stride` apart, into block `block` of
/// the channels of the images `[n, h, w, c]`, as far as the tiles lie inside.
#[inline(always)]
pub fn transform_output<S: Simd, const M: usize, const P: usize>(
    s: S,
    m: &[f32],
    stride: usize,
    line: &Line,
    block: usize,
    y: &mut [f32],
    shape: Shape,
) {
    let [_, h, w, c] = shape.0;
    for (row, (n, x)) in line.corners(M).enumerate() {
        let lanes = (c - block * BLOCK).min(BLOCK);
        for lane in (0..lanes).step_by(S::f32s::LEN) {
            let m = &m[row * BLOCK + lane..];
            let products: [[S::f32s; P]; P] = from_fn(|i| {
                from_fn(|j| S::f32s::from_slice(s, &m[(i * P + j) * stride..][..S::f32s::LEN]))
            });
            let tile = both_sides(s, const { output::<M, P>() }, products);
            let len = (lanes - lane).min(S::f32s::LEN);
            for (i, tile) in tile.into_iter().enumerate().take(h - line.y) {
                for (j, value) in tile.into_iter().enumerate().take(w - x) {
                    let pixel = (n * h + line.y + i) * w + x + j;
                    let to = &mut y[pixel * c + block * BLOCK + lane..][..len];
                    match len == S::f32s::LEN {
                        true => value.store_slice(to),
                        false => to.copy_from_slice(&value.as_slice()[..len]),
                    }
                }
            }
        }
    }
}

/// Writes a tile's points.
#[inline(always)]
fn put<S: Simd, const P: usize>(v: [[S::f32s; P]; P], to: &mut [f32], stride: usize) {
    for (i, row) in v.into_iter().enumerate() {
        for (j, value) in row.into_iter().enumerate() {
            value.store_slice(&mut to[(i * P + j) * stride..][..S::f32s::LEN]);
        }
    }
}
