//! A task of a forward pass or of a gradient of the image by tiles.
use super::tiles::{Line, Source, transform_input, transform_output};
use super::{ROWS, Tile, stride};
use crate::backend::cpu::conv::epilogue::{Epilogue, Partials};
use crate::backend::cpu::conv::tile::{BLOCK, SQUARE, multiply};
use crate::backend::cpu::conv::{PRODUCTS, lend};
use crate::graph::Shape;
use fearless_simd::prelude::*;

/// What all tasks of one call share.
pub struct Work<'a> {
    pub tile: Tile,
    pub source: Source<'a>,
    pub target: Shape,
    /// The transformed weight.
    pub u: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
    /// Images that are worked on at once.
    pub images: usize,
}

impl Work<'_> {
    /// Computes the images from `first` on that `target` has room for.
    pub fn run<S: Simd>(
        &self,
        s: S,
        first: usize,
        target: &mut [f32],
        partials: &mut Option<Partials>,
    ) {
        match self.tile {
            Tile::Two => self.images::<S, 2, 4>(s, first, target, partials),
            Tile::Three => self.images::<S, 3, 5>(s, first, target, partials),
        }
    }

    fn images<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        first: usize,
        target: &mut [f32],
        partials: &mut Option<Partials>,
    ) {
        let image = self.target.with_n(1).len();
        let across = self.tile.across(self.target.0[2]);
        let at_once = across.min(ROWS);
        let rows = self.images * at_once;
        let of_input = P * P * stride(self.source.blocks.len(), rows);
        lend(&PRODUCTS, of_input + P * P * stride(1, rows), |scratch| {
            let (v, m) = scratch.split_at_mut(of_input);
            for (i, target) in target.chunks_mut(self.images * image).enumerate() {
                let start = i * self.images;
                let count = target.len() / image;
                for y in (0..self.target.0[1]).step_by(M) {
                    for tile in (0..across).step_by(at_once) {
                        let line = Line {
                            images: 0..count,
                            y,
                            tiles: tile..across.min(tile + at_once),
                        };
                        self.line::<S, M, P>(s, first + start, &line, [v, m], target);
                    }
                    s.vectorize(
                        #[inline(always)]
                        || {
                            let ys = y..self.target.0[1].min(y + M);
                            for y in ys {
                                self.finish(y, first + start, start, target, partials.as_mut());
                            }
                        },
                    );
                }
            }
        });
    }

    /// Computes the targets of a line of tiles; its images count from `first`.
    fn line<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        first: usize,
        line: &Line,
        [v, m]: [&mut [f32]; 2],
        target: &mut [f32],
    ) {
        let (rows, sources) = (line.rows(), self.source.blocks.len());
        let (apart, matrix) = (stride(sources, rows), rows * BLOCK);
        let seen = Line {
            images: first..first + line.images.len(),
            ..line.clone()
        };
        s.vectorize(
            #[inline(always)]
            || transform_input::<S, M, P>(s, &self.source, &seen, v, apart),
        );
        let mut pairs = Vec::with_capacity(sources);
        for (block, u) in self.u.chunks_exact(P * P * sources * SQUARE).enumerate() {
            let points = u.chunks_exact(sources * SQUARE).enumerate();
            for (point, u) in points {
                let v = &v[point * apart..][..sources * matrix];
                pairs.clear();
                pairs.extend(v.chunks_exact(matrix).zip(u.chunks_exact(SQUARE)));
                let m = &mut m[point * stride(1, rows)..][..matrix];
                multiply(s, &pairs, rows, m, false);
            }
            s.vectorize(
                #[inline(always)]
                || {
                    let apart = stride(1, rows);
                    transform_output::<S, M, P>(s, m, apart, line, block, target, self.target);
                },
            );
        }
    }

    /// Ends row `y` of the images of `target`, which count from `first` in the batch and from `start` in the task.
    #[inline(always)]
    fn finish(
        &self,
        y: usize,
        first: usize,
        start: usize,
        target: &mut [f32],
        mut partials: Option<&mut Partials>,
    ) {
        let [_, h, w, c] = self.target.0;
        for (n, image) in target.chunks_exact_mut(h * w * c).enumerate() {
            let row = &mut image[y * w * c..][..w * c];
            let at = ((first + n) * h + y) * w * c;
            self.epilogue.apply(row, at, c);
            if let Some(partials) = &mut partials {
                partials.add(row, at, c, start + n, y == 0, self.epilogue.mask);
            }
        }
    }
}
