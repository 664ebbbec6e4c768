//! The gradient of the weight: for every tap, the pixels that it saw, transposed, times the gradients of what they
//! made.
use super::axis::Run;
use super::correlate::Correlate;
use super::pack::Rows;
use super::tile::{BLOCK, SQUARE, multiply_transposed};
use super::{Geometry, IMAGES, PRODUCTS, SCRATCH, SHARED, lend, winograd};
use crate::backend::cpu::precision::Matmul;
use crate::backend::cpu::simd::{level, vectorized};
use crate::ops::Norm;
use fearless_simd::{dispatch, prelude::*};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of x and of dy that stay in the L1 cache while all their products are made: 8 KB per block of each.
const DEPTH: usize = 96;

/// `partials[s] = Σ xᵀ·dy` over the images of split s, `[splits, k_h·k_w, c_in, c_out]`; a split has
/// `images_per_split` images, the last what is left.
pub fn grad_weight(
    g: &Geometry,
    x: &[f32],
    norm: Option<Norm>,
    dy: &[f32],
    images_per_split: usize,
    partials: &mut [f32],
) {
    let conv = Correlate::forward(g);
    let [_, _, c_in, c_out] = conv.weight.0;
    let [sources, targets] = [c_in, c_out].map(|c| c.div_ceil(BLOCK));
    let splits = g.x.n().div_ceil(images_per_split);
    let at_once = match conv.matmul {
        Matmul::F32 if conv.winograd => DEPTH.div_ceil(g.y.0[2].div_ceil(2)),
        // An odd row of 16 images would leave half a square of products empty.
        Matmul::Bf16 { .. } if g.y.0[2] % 2 == 1 => 2 * IMAGES,
        _ => IMAGES,
    };
    let images = images_per_split.div_ceil(images_per_split.div_ceil(at_once));
    let x = conv.source_rows(x, norm, images);
    // Output channels are shared among as few tasks as keep all threads busy, as each packs its images anew. How they
    // are shared changes no sum.
    let threads = rayon::current_num_threads();
    let busy = |groups: &usize| {
        let tasks = splits * groups;
        10 * tasks.next_multiple_of(threads) <= 11 * tasks
    };
    let groups = (1..targets).find(busy).unwrap_or(targets);
    let per_group = targets.div_ceil(groups);
    let groups = targets.div_ceil(per_group);
    let per_target = conv.points() * sources * SQUARE;
    lend(&SHARED, splits * targets * per_target, |sums| {
        let mut rest = &mut *sums;
        let task = |task: usize| {
            let (split, group) = (task / groups, task % groups);
            let blocks = group * per_group..targets.min((group + 1) * per_group);
            let len = blocks.len() * per_target;
            let dy = Rows {
                x: dy,
                shape: g.y,
                norm: None,
                patches: None,
                planes: 1,
                left: 0,
                // A tile may overhang.
                columns: g.y.0[2].next_multiple_of(conv.tile()),
                blocks,
                images: x.images,
            };
            let task = Task {
                conv: &conv,
                x: &x,
                dy,
                images: split * images_per_split..g.x.n().min((split + 1) * images_per_split),
            };
            (
                task,
                rest.split_off_mut(..len).expect("room for all blocks"),
            )
        };
        let tasks: Vec<_> = (0..splits * groups).map(task).collect();
        tasks.into_par_iter().for_each(|(task, sums)| {
            sums.fill(0.0);
            match conv.matmul {
                Matmul::F32 => dispatch!(level(), s => task.run(s, sums)),
                Matmul::Bf16 { terms, unit } => {
                    let unit = unit.begin();
                    dispatch!(level(), s => task.run_bf16(s, terms, &unit, sums));
                }
            }
        });
        if conv.winograd {
            sums.par_chunks_mut(per_target).for_each(|sums| {
                vectorized(
                    #[inline(always)]
                    || winograd::transform_sums(sums, sources * SQUARE),
                );
            });
        }
        let sums = &*sums;
        // They are `[split][block of c_out][tap or point][block of c_in][32][32]`.
        let taps = partials.par_chunks_mut(c_in * c_out).enumerate();
        taps.for_each(|(i, dw)| {
            let (split, tap) = (i / conv.taps(), i % conv.taps());
            for (ci, dw) in dw.chunks_exact_mut(c_out).enumerate() {
                for (target, dw) in dw.chunks_mut(BLOCK).enumerate() {
                    let tap = (split * targets + target) * conv.points() + tap;
                    let from = tap * sources * SQUARE + ci * BLOCK;
                    dw.copy_from_slice(&sums[from..from + dw.len()]);
                }
            }
        });
    });
}

/// The sums over some images, for some blocks of output channels.
pub struct Task<'a> {
    pub conv: &'a Correlate,
    pub x: &'a Rows<'a>,
    pub dy: Rows<'a>,
    pub images: Range<usize>,
}

impl Task<'_> {
    fn run<S: Simd>(&self, s: S, sums: &mut [f32]) {
        let Task {
            conv,
            x,
            dy,
            images,
        } = self;
        let columns = &conv.columns;
        let class = &columns.classes[0];
        let runs: Vec<Run> = class
            .taps
            .iter()
            .map(|tap| Run {
                targets: columns.inside(class, tap),
                taps: vec![*tap],
            })
            .collect();
        let step = conv.tile();
        let (ring, row_len) = (conv.rows.span(step), x.row_len());
        let packed_len = (ring + 1) * row_len;
        lend(&SCRATCH, packed_len + step * dy.row_len(), |scratch| {
            let (packed, dy_rows) = scratch.split_at_mut(packed_len);
            for first in images.clone().step_by(x.images) {
                let count = x.images.min(images.end - first);
                // What a block of images before left behind must not count.
                packed.fill(0.0);
                dy_rows.fill(0.0);
                let mut done = 0;
                for y in (0..conv.rows.target).step_by(step) {
                    let group = y..conv.rows.target.min(y + step);
                    let needed = conv.rows.sources(group.clone());
                    s.vectorize(
                        #[inline(always)]
                        || {
                            for i in needed.start.max(done)..needed.end {
                                let row = &mut packed[i % ring * row_len..][..row_len];
                                x.pack(first, count, i, row);
                            }
                            for (y, row) in
                                (y..y + step).zip(dy_rows.chunks_exact_mut(dy.row_len()))
                            {
                                match y < group.end {
                                    true => dy.pack(first, count, y, row),
                                    false => row.fill(0.0),
                                }
                            }
                        },
                    );
                    done = done.max(needed.end);
                    if conv.winograd {
                        let lines = winograd::lines(conv, x, y, ring, packed);
                        self.winograd(s, lines, dy_rows, sums);
                        continue;
                    }
                    for (tap_y, i) in conv.rows.seen(y) {
                        let row = &packed[i % ring * row_len..][..row_len];
                        for run in &runs {
                            let tap = tap_y.k * conv.weight.0[1] + run.taps[0].k;
                            self.products(s, run, tap, row, dy_rows, sums);
                        }
                    }
                }
            }
        });
    }

    /// Adds the products of two rows' tiles.
    fn winograd<S: Simd>(&self, s: S, lines: [&[f32]; 4], dy_rows: &[f32], sums: &mut [f32]) {
        let Task { conv, x, dy, .. } = self;
        let (sources, targets) = (x.blocks.len(), dy.blocks.len());
        let width = conv.columns.target;
        let (first_dy, second_dy) = dy_rows.split_at(dy.row_len());
        let at_once = winograd::tiles_at_once(sources + targets, x.images, width, DEPTH);
        let points = winograd::POINTS * at_once * x.column_len();
        lend(&PRODUCTS, points * (sources + targets), |scratch| {
            let (v, m) = scratch.split_at_mut(points * sources);
            for first in (0..width.div_ceil(2)).step_by(at_once) {
                let tiles = [first, at_once.min(width.div_ceil(2) - first)];
                winograd::transform_tiles(s, conv, x, lines, tiles, v);
                winograd::transform_gradients(s, dy, [first_dy, second_dy], tiles, m);
                let matrix = tiles[1] * x.column_len();
                for point in 0..winograd::POINTS {
                    for target in 0..targets {
                        let b = &m[(point * targets + target) * matrix..][..matrix];
                        for source in 0..sources {
                            let a = &v[(point * sources + source) * matrix..][..matrix];
                            let at = (target * winograd::POINTS + point) * sources + source;
                            multiply_transposed(s, a, b, &mut sums[at * SQUARE..(at + 1) * SQUARE]);
                        }
                    }
                }
            }
        });
    }

    /// Adds what one tap saw in a packed row.
    fn products<S: Simd>(
        &self,
        s: S,
        run: &Run,
        tap: usize,
        row: &[f32],
        dy: &[f32],
        sums: &mut [f32],
    ) {
        let (x, taps) = (self.x, self.conv.taps());
        let sources = x.blocks.len();
        let seen = run.taps[0];
        let column = (x.left + run.targets.start).wrapping_add_signed(seen.shift);
        let depth = run.targets.len() * x.column_len();
        for start in (0..depth).step_by(DEPTH * BLOCK) {
            let chunk = start..depth.min(start + DEPTH * BLOCK);
            for target in 0..self.dy.blocks.len() {
                let b = &self.dy.from(dy, 0, target, run.targets.start)[chunk.clone()];
                for source in 0..sources {
                    let a = &x.from(row, seen.plane, source, column)[chunk.clone()];
                    let at = (target * taps + tap) * sources + source;
                    multiply_transposed(s, a, b, &mut sums[at * SQUARE..(at + 1) * SQUARE]);
                }
            }
        }
    }
}
