//! A task of a forward pass or of a gradient of the image: it packs the source row by row into a ring, computes
//! groups of target rows, and hands each to the epilogue.
use super::axis::ColumnRun;
use super::block::{BLOCK, SQUARE};
use super::epilogue::{Epilogue, Partials, ROOMS, RowPlace};
use super::micro_bf16::{self, split};
use super::micro_f32::multiply;
use super::pack::Rows;
use super::plan::ConvPlan;
use super::scratch::{SCRATCH, lend};
use super::targets::Targets;
use crate::kernels::precision::Matmul;
use fearless_simd::prelude::*;
use std::ops::Range;

/// Elements that a task keeps in the L2 cache if it can: 0.7 MB.
const CACHED: usize = 180_000;

/// Blocks of source channels that are summed at once: with nine taps their weights take 147 KB of the L2 cache.
const DEPTH: usize = 4;

/// What all tasks of one call share.
pub struct Tasks<'a> {
    pub conv: &'a ConvPlan,
    pub rows: &'a Rows<'a>,
    /// The packed weight.
    pub w: &'a [f32],
    epilogue: &'a Epilogue<'a>,
    /// Runs of columns of each class.
    runs: Vec<Vec<ColumnRun>>,
    /// Target rows that are computed together, so that the weights are read less often.
    group: usize,
    /// Source rows that are kept; row `i` stands at `i % ring`. Behind them stands a row of zeros.
    pub ring: usize,
}

impl<'a> Tasks<'a> {
    pub fn new(
        conv: &'a ConvPlan,
        rows: &'a Rows,
        w: &'a [f32],
        epilogue: &'a Epilogue,
    ) -> Tasks<'a> {
        let runs = |class| {
            let mut runs = conv.columns.runs(class);
            // A few images alone do not fill a tile: the zeros around the image are multiplied too.
            if rows.images < BLOCK / 4 {
                runs = vec![ColumnRun {
                    targets: 0..class.count,
                    taps: class.taps.clone(),
                }];
            }
            runs
        };
        let mut tasks = Tasks {
            conv,
            rows,
            w,
            epilogue,
            runs: conv.columns.classes.iter().map(runs).collect(),
            group: 1,
            ring: conv.rows.span(1),
        };
        for group in 2..=conv.rows.target {
            let ring = conv.rows.span(group);
            let packed = conv.floats((ring + 1) * rows.row_len());
            if packed + group * tasks.out_len() > CACHED {
                break;
            }
            (tasks.group, tasks.ring) = (group, ring);
        }
        tasks
    }

    /// Elements of a target row, `[block][column, class by class][image][32]`.
    pub fn out_len(&self) -> usize {
        self.conv.blocks()[1] * self.conv.columns.target * self.rows.column_len()
    }

    /// Computes the targets of a task.
    pub fn run<S: Simd>(&self, s: S, part: &mut Targets, partials: &mut Option<Partials>) {
        let (first, rows) = (part.first, part.rows.clone());
        let [_, _, w, c] = self.conv.target.0;
        let all = part.target.len() / (rows.len() * w * c);
        let (row_len, out_len) = (self.rows.row_len(), self.out_len());
        let packed_len = self.conv.floats((self.ring + 1) * row_len);
        let used = self.conv.used();
        // A row is packed in f32 before it is rounded.
        let whole_len = match self.conv.matmul {
            Matmul::F32 => 0,
            Matmul::Bf16 { .. } => row_len,
        };
        let [_, _, w, c] = self.conv.target.0;
        let rooms_len = (1 + ROOMS) * w * c;
        let len = packed_len + whole_len + self.group * out_len + rooms_len;
        lend(&SCRATCH, len, |scratch| {
            let (packed, rest) = scratch.split_at_mut(packed_len);
            let (whole, rest) = rest.split_at_mut(whole_len);
            let (rooms, out) = rest.split_at_mut(rooms_len);
            packed.fill(0.0);
            whole.fill(0.0);
            for start in (0..all).step_by(self.rows.images) {
                let images = self.rows.images.min(all - start);
                let mut done = 0;
                // Groups are those of the whole image, as the ring has room for, cut where the task begins and ends.
                let groups = rows.start / self.group..rows.end.div_ceil(self.group);
                for y in groups.map(|group| group * self.group) {
                    let group = rows.start.max(y)..rows.end.min(y + self.group);
                    let needed = self.conv.rows.sources(group.clone());
                    s.vectorize(
                        #[inline(always)]
                        || {
                            for i in needed.start.max(done)..needed.end {
                                self.pack(first + start, images, i, packed, whole);
                            }
                        },
                    );
                    done = done.max(needed.end);
                    match self.conv.matmul {
                        Matmul::F32 => {
                            self.definition(
                                group.clone(),
                                packed,
                                self.w,
                                out,
                                |pairs, rows, out, more| {
                                    multiply(s, pairs, rows, used, out, more);
                                },
                            );
                        }
                        Matmul::Bf16 { unit, .. } => {
                            let packed: &[u16] = bytemuck::cast_slice(packed);
                            let w: &[u16] = bytemuck::cast_slice(self.w);
                            let unit = unit.begin();
                            self.definition(
                                group.clone(),
                                packed,
                                w,
                                out,
                                |pairs, rows, out, more| {
                                    unit.multiply(pairs, BLOCK, rows, out, more);
                                },
                            );
                        }
                    }
                    for (y, out) in group.zip(out.chunks_exact(out_len)) {
                        s.vectorize(
                            #[inline(always)]
                            || {
                                let images = [start, start + images];
                                let partials = partials.as_mut();
                                self.finish(y, out, images, rooms, part, partials);
                            },
                        );
                    }
                }
            }
        });
    }

    /// Packs source row `i` of `images` images from `first` on in its place of the ring; in bfloat16 by way of `whole`,
    /// unless it is that already.
    #[inline(always)]
    fn pack(&self, first: usize, images: usize, i: usize, packed: &mut [f32], whole: &mut [f32]) {
        let (slot, row_len) = (i % self.ring, self.rows.row_len());
        let Matmul::Bf16 { terms, .. } = self.conv.matmul else {
            let row = &mut packed[slot * row_len..][..row_len];
            return self.rows.pack(first, images, i, row);
        };
        let packed: &mut [u16] = bytemuck::cast_slice_mut(packed);
        let row = &mut packed[slot * terms * row_len..][..terms * row_len];
        if let (1, Some(bits)) = (terms, self.rows.bits()) {
            return self.rows.pack_bits(bits, first, images, i, row);
        }
        self.rows.pack(first, images, i, whole);
        let (hi, lo) = row.split_at_mut(row_len);
        split(whole, hi, (terms == 2).then_some(lo));
    }

    /// Computes a group of target rows by the definition.
    fn definition<T>(
        &self,
        group: Range<usize>,
        packed: &[T],
        w: &[T],
        out: &mut [f32],
        times: impl Fn(&[(&[T], &[T])], usize, &mut [f32], bool),
    ) {
        let [sources, targets] = self.conv.blocks();
        let column = self.rows.column_len();
        let mut pairs = Vec::with_capacity(3 * DEPTH * self.conv.taps());
        for block in 0..targets {
            for first in (0..sources).step_by(DEPTH) {
                let deep = first..sources.min(first + DEPTH);
                for y in group.clone() {
                    let mut to = (y - group.start) * self.out_len();
                    to += block * self.conv.columns.target * column;
                    for run in self.runs.iter().flatten() {
                        self.pairs(y, run, block, deep.clone(), [packed, w], &mut pairs);
                        let len = run.targets.len() * column;
                        let out = &mut out[to..to + len];
                        if !pairs.is_empty() {
                            times(&pairs, len / BLOCK, out, first > 0);
                        } else if first == 0 {
                            out.fill(0.0);
                        }
                        to += len;
                    }
                }
            }
        }
    }

    /// What a run of row `y` sums for a block of targets, over some blocks of sources.
    fn pairs<'p, T>(
        &self,
        y: usize,
        run: &ColumnRun,
        target: usize,
        sources: Range<usize>,
        [packed, w]: [&'p [T]; 2],
        pairs: &mut Vec<(&'p [T], &'p [T])>,
    ) {
        pairs.clear();
        let (terms, row_len) = (self.conv.matmul.terms(), self.rows.row_len());
        for (tap_y, i) in self.conv.rows.seen(y) {
            let row = &packed[i % self.ring * terms * row_len..][..terms * row_len];
            for tap_x in &run.taps {
                let column = (self.rows.left + run.targets.start).wrapping_add_signed(tap_x.shift);
                let tap = tap_y.k * self.conv.weight.0[1] + tap_x.k;
                for source in sources.clone() {
                    let b = (target * self.conv.taps() + tap) * self.rows.blocks.len() + source;
                    for [of_a, of_b] in micro_bf16::products(terms) {
                        let row = &row[of_a * row_len..][..row_len];
                        let a = self.rows.from(row, tap_x.plane, source, column);
                        pairs.push((a, &w[(b * terms + of_b) * SQUARE..][..SQUARE]));
                    }
                }
            }
        }
    }

    /// Writes row `y` of images `from..to` of the task.
    #[inline(always)]
    fn finish(
        &self,
        y: usize,
        out: &[f32],
        [from, to]: [usize; 2],
        rooms: &mut [f32],
        part: &mut Targets,
        mut partials: Option<&mut Partials>,
    ) {
        let [_, h, w, c] = self.conv.target.0;
        let len = w * c;
        let (room, rooms) = rooms.split_at_mut(len);
        for n in from..to {
            let at = part.at(n, y, len);
            let place = RowPlace {
                at: ((part.first + n) * h + y) * len,
                image: n,
                y,
            };
            part.target.write(
                at..at + len,
                room,
                #[inline(always)]
                |row| {
                    self.unpack(n - from, out, row);
                    let partials = partials.as_deref_mut();
                    self.epilogue.apply(row, place, c, rooms, partials);
                },
            );
        }
    }

    /// Puts the columns of one image in their order.
    #[inline(always)]
    fn unpack(&self, n: usize, out: &[f32], row: &mut [f32]) {
        let [_, _, w, c] = self.conv.target.0;
        let column = self.rows.column_len();
        let mut from = n * BLOCK;
        for class in &self.conv.columns.classes {
            for x in (class.first..w).step_by(class.step) {
                let pixel = &mut row[x * c..(x + 1) * c];
                for (block, to) in pixel.chunks_mut(BLOCK).enumerate() {
                    let out = &out[from + block * w * column..][..BLOCK];
                    match to.len() {
                        BLOCK => to.copy_from_slice(out),
                        len => to.copy_from_slice(&out[..len]),
                    }
                }
                from += column;
            }
        }
    }
}
