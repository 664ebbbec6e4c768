//! The layout of the micro-kernels: blocks of 32 channels, and in a block the images of a pixel side by side. A run
//! of pixels is then one dense matrix whose rows are (pixel, image), and a border is only where the run starts.
use super::block::{BLOCK, SQUARE};
use super::micro_bf16;
use crate::kernels::floats::Floats;
use crate::kernels::simd::vectorized;
use crate::kernels::{Norm, Window};
use crate::tensor::Shape;
use rayon::prelude::*;
use std::ops::Range;

/// Image rows to be packed as `[plane][block][column][image][32]`; channels that fill no block end in zeros.
pub struct Rows<'a> {
    /// The images, `[n, h, w, c]`.
    pub x: Floats<'a>,
    pub shape: Shape,
    /// Packs `max(x·scale + shift, 0)` instead of x.
    pub norm: Option<Norm<'a>>,
    /// Packs the patch of this window, `k_h·k_w·c` numbers, as the channels of a pixel.
    pub patches: Option<Window>,
    /// Pixel `i` of a row is number `i / planes` of plane `i % planes`.
    pub planes: usize,
    /// Zero columns before the first pixel of a plane.
    pub left: usize,
    /// Columns of a plane, zero columns on both sides included.
    pub columns: usize,
    /// Blocks of channels.
    pub blocks: Range<usize>,
    /// Images side by side.
    pub images: usize,
}

impl Rows<'_> {
    /// Elements of a column: the images of one pixel.
    pub fn column_len(&self) -> usize {
        self.images * BLOCK
    }

    /// Elements of a packed row.
    pub fn row_len(&self) -> usize {
        self.planes * self.blocks.len() * self.columns * self.column_len()
    }

    /// A plane's block of channels, from `column` on.
    pub fn from<'p, T>(&self, row: &'p [T], plane: usize, block: usize, column: usize) -> &'p [T] {
        let first = (plane * self.blocks.len() + block) * self.columns;
        &row[(first + column) * self.column_len()..(first + self.columns) * self.column_len()]
    }

    /// Packs row `y` of `count` images from `first` on. Zero columns and missing images are left as they are.
    #[inline(always)]
    pub fn pack(&self, first: usize, count: usize, y: usize, row: &mut [f32]) {
        let [_, h, w, c] = self.shape.0;
        if let Some(window) = self.patches {
            return self.pack_patches(window, first, count, y, row);
        }
        for n in 0..count {
            let line = ((first + n) * h + y) * w * c;
            for x in 0..w {
                let pixel = self.x.slice(line + x * c..line + (x + 1) * c);
                self.put(pixel, c, x, n, self.norm, row);
            }
        }
    }

    /// The images, where they are bfloat16 and to be packed as they are: then [`Rows::pack_bits`] does.
    pub fn bits(&self) -> Option<&[u16]> {
        match self.x {
            Floats::Bf16(x) if self.norm.is_none() && self.patches.is_none() => Some(x),
            _ => None,
        }
    }

    /// [`Rows::pack`] of the [`Rows::bits`], without a way through f32.
    #[inline(always)]
    pub fn pack_bits(&self, x: &[u16], first: usize, count: usize, y: usize, row: &mut [u16]) {
        let [_, h, w, c] = self.shape.0;
        for n in 0..count {
            let line = &x[((first + n) * h + y) * w * c..][..w * c];
            for (x, pixel) in line.chunks_exact(c).enumerate() {
                for (channels, to) in self.places(c, x, n) {
                    let to = &mut row[to..to + channels.len()];
                    to.copy_from_slice(&pixel[channels]);
                }
            }
        }
    }

    /// Where the `c` channels of pixel x of image n go: some of them, and the place of the first.
    #[inline(always)]
    fn places(&self, c: usize, x: usize, n: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let plane = x % self.planes * self.blocks.len() * self.columns;
        let first = (plane + self.left + x / self.planes) * self.column_len() + n * BLOCK;
        let step = self.columns * self.column_len();
        let end = c.min(self.blocks.end * BLOCK);
        let starts = (self.blocks.start * BLOCK..end).step_by(BLOCK);
        starts
            .enumerate()
            .map(move |(block, start)| (start..end.min(start + BLOCK), first + block * step))
    }

    /// Writes the `c` channels of one pixel of one image.
    #[inline(always)]
    fn put(
        &self,
        pixel: Floats,
        c: usize,
        x: usize,
        n: usize,
        norm: Option<Norm>,
        row: &mut [f32],
    ) {
        let before = self.blocks.start * BLOCK;
        for (channels, to) in self.places(c, x, n) {
            let (start, len) = (channels.start, channels.len());
            let to = &mut row[to..to + len];
            match to.len() {
                // A length that the compiler knows makes the copy a few vector moves.
                BLOCK => pixel.slice(start..start + BLOCK).copy_to(&mut to[..BLOCK]),
                _ => pixel.slice(channels).copy_to(to),
            }
            if let Some(norm) = norm {
                norm.activate(to, start - before);
            }
        }
    }

    #[inline(always)]
    fn pack_patches(&self, window: Window, first: usize, count: usize, y: usize, row: &mut [f32]) {
        const LANES: usize = 8;
        let [_, h, w, c] = self.shape.0;
        let Window {
            kernel,
            stride,
            pad,
        } = window;
        // The taps of one line of a patch are neighbours in the image. Lines are copied in whole vectors, and what
        // overhangs is overwritten by the next.
        let len = kernel * c;
        let padded = ((w + 2 * pad) * c).max(len) + LANES;
        let mut lines = vec![0.0; kernel * padded];
        let mut patch = vec![0.0; kernel * len + LANES];
        for n in 0..count {
            for (ky, line) in lines.chunks_exact_mut(padded).enumerate() {
                let inside = &mut line[pad * c..(pad + w) * c];
                match (y * stride + ky).checked_sub(pad).filter(|&iy| iy < h) {
                    Some(iy) => {
                        let at = ((first + n) * h + iy) * w * c;
                        self.x.slice(at..at + w * c).copy_to(inside);
                        if let Some(norm) = self.norm {
                            inside.chunks_exact_mut(c).for_each(|x| norm.activate(x, 0));
                        }
                    }
                    None => inside.fill(0.0),
                }
            }
            for x in 0..self.columns {
                for (ky, line) in lines.chunks_exact(padded).enumerate() {
                    let from = &line[x * stride * c..];
                    let to = &mut patch[ky * len..];
                    for i in (0..len).step_by(LANES) {
                        to[i..i + LANES].copy_from_slice(&from[i..i + LANES]);
                    }
                }
                let patch = Floats::F32(&patch[..kernel * len]);
                self.put(patch, kernel * len, x, n, None, row);
            }
        }
    }
}

/// Between which channels a weight `[k_h, k_w, c_in, c_out]` stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From `c_in` to `c_out`.
    Forward,
    /// From `c_out` to `c_in`.
    Backward,
}

impl Direction {
    /// Channels of the source.
    pub fn sources(self, weight: Shape) -> usize {
        match self {
            Direction::Forward => weight.0[2],
            Direction::Backward => weight.0[3],
        }
    }
}

/// Packs a weight as `[block of targets][tap][block of sources][32][32]`, filled up with zeros.
pub fn weight(w: &[f32], shape: Shape, direction: Direction, packed: &mut [f32]) {
    let taps = shape.0[0] * shape.0[1];
    let blocks = direction.sources(shape).div_ceil(BLOCK);
    let squares = packed.par_chunks_mut(blocks * SQUARE).enumerate();
    squares.for_each(|(i, packed)| {
        for (source, to) in packed.chunks_exact_mut(SQUARE).enumerate() {
            square(w, shape, direction, i % taps, [source, i / taps], to);
        }
    });
}

/// [`weight`] in bfloat16: each square is `terms` squares of [`micro_bf16::multiply`].
pub fn weight_bf16(
    w: &[f32],
    shape: Shape,
    direction: Direction,
    terms: usize,
    packed: &mut [u16],
) {
    let taps = shape.0[0] * shape.0[1];
    let blocks = direction.sources(shape).div_ceil(BLOCK);
    let squares = packed.par_chunks_mut(blocks * terms * SQUARE).enumerate();
    squares.for_each(|(i, packed)| {
        let (mut whole, mut hi, mut lo) = ([0.0; SQUARE], [0; SQUARE], [0; SQUARE]);
        for (source, to) in packed.chunks_exact_mut(terms * SQUARE).enumerate() {
            square(
                w,
                shape,
                direction,
                i % taps,
                [source, i / taps],
                &mut whole,
            );
            vectorized(
                #[inline(always)]
                || {
                    micro_bf16::split(&whole, &mut hi, (terms == 2).then_some(&mut lo));
                    for (rows, to) in [&hi, &lo].iter().zip(to.chunks_exact_mut(SQUARE)) {
                        micro_bf16::pack_square(&rows[..], to);
                    }
                },
            );
        }
    });
}

/// Copies what one tap has between a block of sources and a block of targets, a row per source; zeros fill it up.
#[inline(always)]
pub fn square(
    w: &[f32],
    shape: Shape,
    direction: Direction,
    tap: usize,
    [source, target]: [usize; 2],
    square: &mut [f32],
) {
    let [_, _, c_in, c_out] = shape.0;
    let w = &w[tap * c_in * c_out..][..c_in * c_out];
    let (row, column) = match direction {
        Direction::Forward => (source * BLOCK, target * BLOCK),
        Direction::Backward => (target * BLOCK, source * BLOCK),
    };
    let lines = w.chunks_exact(c_out).skip(row).take(BLOCK);
    if lines.len() < BLOCK || c_out - column < BLOCK {
        square.fill(0.0);
    }
    for (i, w) in lines.enumerate() {
        let w = &w[column..];
        // A length that the compiler knows makes it a few vector moves.
        match w.first_chunk::<BLOCK>() {
            Some(w) => put_line(direction, i, w, square),
            None => put_line(direction, i, w, square),
        }
    }
}

/// Copies what input channel `i` of a block has for some output channels.
#[inline(always)]
fn put_line(direction: Direction, i: usize, w: &[f32], square: &mut [f32]) {
    match direction {
        Direction::Forward => square[i * BLOCK..][..w.len()].copy_from_slice(w),
        Direction::Backward => {
            let column = square[i..].iter_mut().step_by(BLOCK);
            column.zip(w).for_each(|(to, w)| *to = *w);
        }
    }
}
