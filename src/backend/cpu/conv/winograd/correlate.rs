//! A task of a forward pass or of a gradient of the image by tiles.
use super::tiles::{Line, Source, transform_input, transform_output};
use super::{ROWS, Tile, stride};
use crate::backend::cpu::conv::epilogue::{Epilogue, Partials};
use crate::backend::cpu::conv::tile::{BLOCK, SQUARE, multiply};
use crate::backend::cpu::conv::work::Part;
use crate::backend::cpu::conv::{PRODUCTS, lend};
use crate::graph::Shape;
use fearless_simd::prelude::*;
use std::ops::Range;

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
    /// Computes the targets of a task, whose rows begin where a line of tiles does.
    pub fn run<S: Simd>(&self, s: S, part: &mut Part, partials: &mut Option<Partials>) {
        match self.tile {
            Tile::Two => self.images::<S, 2, 4>(s, part, partials),
            Tile::Three => self.images::<S, 3, 5>(s, part, partials),
        }
    }

    fn images<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        part: &mut Part,
        partials: &mut Option<Partials>,
    ) {
        let (ys, [_, _, w, c]) = (part.rows.clone(), self.target.0);
        let image = ys.len() * w * c;
        let across = self.tile.across(self.target.0[2]);
        let at_once = across.min(ROWS);
        let rows = self.images * at_once;
        let of_input = P * P * stride(self.source.blocks.len(), rows);
        lend(&PRODUCTS, of_input + P * P * stride(1, rows), |scratch| {
            let (v, m) = scratch.split_at_mut(of_input);
            let all = part.target.len() / image;
            for start in (0..all).step_by(self.images) {
                let count = self.images.min(all - start);
                for y in ys.clone().step_by(M) {
                    for tile in (0..across).step_by(at_once) {
                        let line = Line {
                            images: start..start + count,
                            y,
                            tiles: tile..across.min(tile + at_once),
                        };
                        self.line::<S, M, P>(s, &line, [v, m], part);
                    }
                    s.vectorize(
                        #[inline(always)]
                        || {
                            for y in y..ys.end.min(y + M) {
                                self.finish(y, start..start + count, part, partials.as_mut());
                            }
                        },
                    );
                }
            }
        });
    }

    /// Computes the targets of a line of tiles; its images are counted in the task.
    fn line<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        line: &Line,
        [v, m]: [&mut [f32]; 2],
        part: &mut Part,
    ) {
        let (rows, sources) = (line.rows(), self.source.blocks.len());
        let (apart, matrix) = (stride(sources, rows), rows * BLOCK);
        let seen = Line {
            images: part.first + line.images.start..part.first + line.images.end,
            ..line.clone()
        };
        let made = Line {
            y: line.y - part.rows.start,
            ..line.clone()
        };
        let [n, _, w, c] = self.target.0;
        let shape = Shape([n, part.rows.len(), w, c]);
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
                    transform_output::<S, M, P>(s, m, apart, &made, block, part.target, shape);
                },
            );
        }
    }

    /// Ends row `y` of some images of the task.
    #[inline(always)]
    fn finish(
        &self,
        y: usize,
        images: Range<usize>,
        part: &mut Part,
        mut partials: Option<&mut Partials>,
    ) {
        let [_, h, w, c] = self.target.0;
        for n in images {
            let at = part.at(n, y, w * c);
            let row = &mut part.target[at..at + w * c];
            let at = ((part.first + n) * h + y) * w * c;
            self.epilogue.apply(row, at, c);
            if let Some(partials) = &mut partials {
                partials.add(row, at, c, n, y == 0, self.epilogue.mask);
            }
        }
    }
}
