//! The gradient of the weight: for every tap, the pixels that it saw, transposed, times the gradients of what they
//! made.
use super::axis::ColumnRun;
use super::block::{BLOCK, DEPTH, SQUARE};
use super::micro_f32::multiply_transposed;
use super::pack::Rows;
use super::plan::{ConvPlan, IMAGES};
use super::scratch::{SCRATCH, SHARED, lend};
use super::{Geometry, winograd};
use crate::kernels::Norm;
use crate::kernels::floats::Floats;
use crate::kernels::precision::Matmul;
use crate::kernels::simd::level;
use fearless_simd::{dispatch, prelude::*};
use rayon::prelude::*;
use std::ops::Range;

/// `partials[s] = Σ xᵀ·dy` over the images of split s, `[splits, k_h·k_w, c_in, c_out]`; a split has
/// `images_per_split` images, the last what is left.
pub fn grad_weight(
    g: &Geometry,
    x: Floats,
    norm: Option<Norm>,
    dy: Floats,
    images_per_split: usize,
    partials: &mut [f32],
) {
    let conv = ConvPlan::forward(g);
    grad_weight_by(&conv, g, x, norm, dy, images_per_split, partials);
}

/// [`grad_weight`] by the algorithm of the forward pass `conv`.
pub fn grad_weight_by(
    conv: &ConvPlan,
    g: &Geometry,
    x: Floats,
    norm: Option<Norm>,
    dy: Floats,
    images_per_split: usize,
    partials: &mut [f32],
) {
    let [_, _, c_in, c_out] = conv.weight.0;
    let [sources, targets] = [c_in, c_out].map(|c| c.div_ceil(BLOCK));
    let splits = g.x.n().div_ceil(images_per_split);
    let at_once = match (conv.matmul, conv.winograd) {
        (_, Some(tile)) => tile.images(g.y.0[2], DEPTH),
        // An odd row of 16 images would leave half a square of products empty.
        (Matmul::Bf16 { .. }, _) if g.y.0[2] % 2 == 1 => 2 * IMAGES,
        _ => IMAGES,
    };
    let at_once = images_per_split.div_ceil(images_per_split.div_ceil(at_once));
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
        let tasks: Vec<_> = (0..splits * groups)
            .map(|task| {
                let (split, group) = (task / groups, task % groups);
                let blocks = group * per_group..targets.min((group + 1) * per_group);
                let sums = rest.split_off_mut(..blocks.len() * per_target);
                let images = split * images_per_split..g.x.n().min((split + 1) * images_per_split);
                (images, blocks, sums.expect("room for all blocks"))
            })
            .collect();
        let x_rows = conv.source_rows(x, norm, at_once);
        tasks.into_par_iter().for_each(|(images, blocks, sums)| {
            if let Some(tile) = conv.winograd {
                let x = conv.tile_source(x, norm);
                let dy = winograd::TileSource {
                    x: dy,
                    shape: g.y,
                    norm: None,
                    pad: 0,
                    blocks,
                };
                return dispatch!(level(), s => {
                    winograd::grad_weight(s, tile, &x, &dy, images, at_once, sums)
                });
            }
            let dy = Rows {
                x: dy,
                shape: g.y,
                norm: None,
                patches: None,
                planes: 1,
                left: 0,
                columns: g.y.0[2],
                blocks,
                images: at_once,
            };
            let task = GradWeightTask {
                conv,
                x: &x_rows,
                dy,
                images,
            };
            match conv.matmul {
                Matmul::F32 => dispatch!(level(), s => task.run(s, sums)),
                Matmul::Bf16 { terms, unit } => {
                    sums.fill(0.0);
                    let unit = unit.begin();
                    dispatch!(level(), s => task.run_bf16(s, terms, &unit, sums));
                }
            }
        });
        if let Some(tile) = conv.winograd {
            let (targets, used) = (sums.par_chunks_mut(per_target), conv.used());
            targets.for_each(|sums| winograd::transform_sums(tile, sums, sources * SQUARE, used));
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
                    match dw.first_chunk_mut::<BLOCK>() {
                        // A length that the compiler knows makes it a few vector moves.
                        Some(dw) => dw.copy_from_slice(&sums[from..from + BLOCK]),
                        None => dw.copy_from_slice(&sums[from..from + dw.len()]),
                    }
                }
            }
        });
    });
}

/// The sums over some images, for some blocks of output channels.
pub struct GradWeightTask<'a> {
    pub conv: &'a ConvPlan,
    pub x: &'a Rows<'a>,
    pub dy: Rows<'a>,
    pub images: Range<usize>,
}

impl GradWeightTask<'_> {
    fn run<S: Simd>(&self, s: S, sums: &mut [f32]) {
        let GradWeightTask {
            conv,
            x,
            dy,
            images,
        } = self;
        let columns = &conv.columns;
        let class = &columns.classes[0];
        let runs: Vec<ColumnRun> = class
            .taps
            .iter()
            .map(|tap| ColumnRun {
                targets: columns.inside(class, tap),
                taps: vec![*tap],
            })
            .collect();
        let mut begun = vec![false; conv.taps()];
        let (ring, row_len) = (conv.rows.span(1), x.row_len());
        let packed_len = ring * row_len;
        lend(&SCRATCH, packed_len + dy.row_len(), |scratch| {
            let (packed, dy_row) = scratch.split_at_mut(packed_len);
            for first in images.clone().step_by(x.images) {
                let count = x.images.min(images.end - first);
                // What a block of images before left behind must not count.
                packed.fill(0.0);
                dy_row.fill(0.0);
                let mut done = 0;
                for y in 0..conv.rows.target {
                    let needed = conv.rows.sources(y..y + 1);
                    s.vectorize(
                        #[inline(always)]
                        || {
                            for i in needed.start.max(done)..needed.end {
                                let row = &mut packed[i % ring * row_len..][..row_len];
                                x.pack(first, count, i, row);
                            }
                            dy.pack(first, count, y, dy_row);
                        },
                    );
                    done = done.max(needed.end);
                    for (tap_y, i) in conv.rows.seen(y) {
                        let row = &packed[i % ring * row_len..][..row_len];
                        for run in &runs {
                            let tap = tap_y.k * conv.weight.0[1] + run.taps[0].k;
                            self.products(s, run, tap, [row, dy_row], sums, &mut begun[tap]);
                        }
                    }
                }
            }
        });
        // A tap may have seen nothing but padding.
        let len = x.blocks.len() * SQUARE;
        for (i, sums) in sums.chunks_exact_mut(len).enumerate() {
            if !begun[i % conv.taps()] {
                sums.fill(0.0);
            }
        }
    }

    /// Adds what one tap saw in a packed row, or begins with it.
    fn products<S: Simd>(
        &self,
        s: S,
        run: &ColumnRun,
        tap: usize,
        [row, dy]: [&[f32]; 2],
        sums: &mut [f32],
        begun: &mut bool,
    ) {
        let (x, taps, used) = (self.x, self.conv.taps(), self.conv.used());
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
                    let sum = &mut sums[at * SQUARE..(at + 1) * SQUARE];
                    multiply_transposed(s, [a, b], used, sum, *begun);
                }
            }
            *begun = true;
        }
    }
}
