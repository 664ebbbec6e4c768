//! A task of a forward pass or of a gradient of the image by tiles.
use super::tile::{ROWS, WinogradTile, stride};
use super::tiles::{Line, TileSource, transform_input, transform_output};
use crate::kernels::bf16::round_all;
use crate::kernels::conv::block::{BLOCK, SQUARE};
use crate::kernels::conv::epilogue::{Epilogue, Partials, ROOMS, RowPlace};
use crate::kernels::conv::micro_f32::multiply;
use crate::kernels::conv::scratch::{PRODUCTS, lend};
use crate::kernels::conv::targets::Targets;
use crate::kernels::floats::FloatsMut;
use crate::tensor::Shape;
use fearless_simd::prelude::*;
use std::ops::Range;

/// What all tasks of one call share.
pub struct TileTasks<'a> {
    pub tile: WinogradTile,
    pub source: TileSource<'a>,
    pub target: Shape,
    /// The transformed weight.
    pub u: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
    /// Images that are worked on at once.
    pub images: usize,
}

impl TileTasks<'_> {
    /// Computes the targets of a task, whose rows begin where a line of tiles does.
    pub fn run<S: Simd>(&self, s: S, part: &mut Targets, partials: &mut Option<Partials>) {
        match self.tile {
            WinogradTile::Two => self.images::<S, 2, 4>(s, part, partials),
            WinogradTile::Three => self.images::<S, 3, 5>(s, part, partials),
        }
    }

    fn images<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        part: &mut Targets,
        partials: &mut Option<Partials>,
    ) {
        let [_, _, w, c] = self.target.0;
        let image = part.rows.len() * w * c;
        let across = self.tile.across(w);
        let at_once = across.min(ROWS);
        let rows = self.images * at_once;
        let of_input = P * P * stride(self.source.blocks.len(), rows);
        let of_products = P * P * stride(1, rows);
        // Rows of f32 that are yet to be rounded; f32 itself is written where it belongs.
        let of_band = match part.target {
            FloatsMut::F32(_) => 0,
            FloatsMut::Bf16(_) => self.images * M * w * c,
        };
        let len = of_input + of_products + of_band + ROOMS * w * c;
        lend(&PRODUCTS, len, |scratch| {
            let (v, rest) = scratch.split_at_mut(of_input);
            let (m, rest) = rest.split_at_mut(of_products);
            let (band, rooms) = rest.split_at_mut(of_band);
            let all = part.target.len() / image;
            for start in (0..all).step_by(self.images) {
                let images = start..all.min(start + self.images);
                for y in part.rows.clone().step_by(M) {
                    let ys = y..part.rows.end.min(y + M);
                    for tile in (0..across).step_by(at_once) {
                        let line = Line {
                            images: 0..images.len(),
                            y,
                            tiles: tile..across.min(tile + at_once),
                        };
                        let (to, height, top) = match &mut part.target {
                            FloatsMut::F32(target) => {
                                let (first, height) = (part.rows.start, part.rows.len());
                                (&mut target[start * image..], height, y - first)
                            }
                            FloatsMut::Bf16(_) => (&mut *band, ys.len(), 0),
                        };
                        let shape = Shape([images.len(), height, w, c]);
                        let first = part.first + start;
                        self.line::<S, M, P>(s, first, &line, [v, m], to, shape, top);
                    }
                    s.vectorize(
                        #[inline(always)]
                        || {
                            let partials = partials.as_mut();
                            self.finish(ys, images.clone(), band, rooms, part, partials);
                        },
                    );
                }
            }
        });
    }

    /// Computes the targets of a line of tiles, whose images count from `first`, as rows `top …` of images of this shape.
    #[expect(clippy::too_many_arguments, reason = "where from and where to")]
    fn line<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        first: usize,
        line: &Line,
        [v, m]: [&mut [f32]; 2],
        target: &mut [f32],
        shape: Shape,
        top: usize,
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
        let used = [self.source.used(), self.target.c().min(BLOCK)];
        let mut pairs = Vec::with_capacity(sources);
        for (block, u) in self.u.chunks_exact(P * P * sources * SQUARE).enumerate() {
            let points = u.chunks_exact(sources * SQUARE).enumerate();
            for (point, u) in points {
                let v = &v[point * apart..][..sources * matrix];
                pairs.clear();
                pairs.extend(v.chunks_exact(matrix).zip(u.chunks_exact(SQUARE)));
                let m = &mut m[point * stride(1, rows)..][..matrix];
                multiply(s, &pairs, rows, used, m, false);
            }
            s.vectorize(
                #[inline(always)]
                || {
                    let apart = stride(1, rows);
                    transform_output::<S, M, P>(s, m, apart, line, block, target, shape, top);
                },
            );
        }
    }

    /// Ends rows `ys` of some images of the task. What is not written yet stands in `band`, `[image, row, w, c]`.
    #[inline(always)]
    fn finish(
        &self,
        ys: Range<usize>,
        images: Range<usize>,
        band: &mut [f32],
        rooms: &mut [f32],
        part: &mut Targets,
        mut partials: Option<&mut Partials>,
    ) {
        let [_, h, w, c] = self.target.0;
        let len = w * c;
        for y in ys.clone() {
            for n in images.clone() {
                let at = part.at(n, y, len);
                let place = RowPlace {
                    at: ((part.first + n) * h + y) * len,
                    image: n,
                    y,
                };
                let partials = partials.as_deref_mut();
                match &mut part.target {
                    FloatsMut::F32(target) => {
                        let row = &mut target[at..at + len];
                        self.epilogue.apply(row, place, c, rooms, partials);
                    }
                    FloatsMut::Bf16(target) => {
                        let row = (n - images.start) * ys.len() + y - ys.start;
                        let row = &mut band[row * len..][..len];
                        self.epilogue.apply(row, place, c, rooms, partials);
                        round_all(row, &mut target[at..at + len]);
                    }
                }
            }
        }
    }
}
