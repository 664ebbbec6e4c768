//! The forward pass and the gradient of the image, which are one thing: every target pixel sums, over the taps that
//! lie inside the source, its channels times a block of the weight.
use super::axis::{Axis, Run};
use super::dot::{self, split};
use super::epilogue::{Epilogue, Partials};
use super::pack::{self, Direction, Rows};
use super::tile::{BLOCK, SQUARE, multiply};
use super::{Geometry, IMAGES, SCRATCH, SHARED, lend, winograd};
use crate::backend::cpu::precision::Matmul;
use crate::backend::cpu::simd::level;
use crate::graph::Shape;
use crate::ops::Norm;
use crate::ops::Window;
use fearless_simd::{dispatch, prelude::*};
use rayon::prelude::*;
use std::ops::Range;

/// Blocks of source channels that are summed at once: with nine taps their weights take 147 KB of the L2 cache.
const DEPTH: usize = 4;
/// Elements that a task keeps in the L2 cache if it can: 0.7 MB.
pub const CACHED: usize = 180_000;

/// Products of source pixels with the weight.
pub struct Correlate {
    pub rows: Axis,
    pub columns: Axis,
    /// `[k_h, k_w, c_in, c_out]`; with patches `[1, 1, k_h·k_w·c_in, c_out]`.
    pub weight: Shape,
    /// Whole patches take the place of too few channels.
    pub patches: Option<Window>,
    /// Whether tiles of 2 × 2 targets are made by Winograd's algorithm.
    pub winograd: bool,
    /// How the products are made.
    pub matmul: Matmul,
    direction: Direction,
    source: Shape,
    target: Shape,
}

impl Correlate {
    /// From x to y.
    pub fn forward(g: &Geometry) -> Correlate {
        let [k_h, k_w, c_in, c_out] = g.w.0;
        let patch = k_h * k_w * c_in;
        // A pixel's channels are filled up to a block; a patch's may waste less.
        let patches = patch.next_multiple_of(BLOCK) < k_h * k_w * c_in.next_multiple_of(BLOCK);
        let axis = |i: usize| match patches {
            true => {
                let itself = Window {
                    kernel: 1,
                    stride: 1,
                    pad: 0,
                };
                Axis::forward(g.y.0[i], g.y.0[i], itself)
            }
            false => Axis::forward(g.x.0[i], g.y.0[i], g.window),
        };
        Correlate {
            rows: axis(1),
            columns: axis(2),
            weight: if patches {
                Shape([1, 1, patch, c_out])
            } else {
                g.w
            },
            patches: patches.then_some(g.window),
            winograd: false,
            matmul: Matmul::current(),
            direction: Direction::Forward,
            source: g.x,
            target: g.y,
        }
        .choose(g)
    }

    /// From dy to dx.
    pub fn grad_input(g: &Geometry) -> Correlate {
        Correlate {
            rows: Axis::grad_input(g.x.0[1], g.y.0[1], g.window),
            columns: Axis::grad_input(g.x.0[2], g.y.0[2], g.window),
            weight: g.w,
            patches: None,
            winograd: false,
            matmul: Matmul::current(),
            direction: Direction::Backward,
            source: g.y,
            target: g.x,
        }
        .choose(g)
    }

    /// Takes Winograd's algorithm where its products, overhanging tiles included, are clearly fewer than those of
    /// the definition, padding left out. Its sums of sources would be rounded once more in bfloat16.
    fn choose(mut self, g: &Geometry) -> Correlate {
        let window = g.window.kernel == 3 && g.window.stride == 1;
        let fits = window && self.patches.is_none() && self.matmul == Matmul::F32;
        let [_, h, w, _] = self.target.0;
        let tiles = h.div_ceil(2) * w.div_ceil(2);
        let definition = self.rows.products() * self.columns.products();
        self.winograd = fits && 4 * winograd::POINTS * tiles < 3 * definition;
        self
    }

    /// Taps of the weight.
    pub fn taps(&self) -> usize {
        self.weight.0[0] * self.weight.0[1]
    }

    /// The most images side by side.
    pub fn images(&self) -> usize {
        // Tiles make rows enough without a third dimension; four rows of the source are to stay in the cache.
        if self.winograd { IMAGES / 2 } else { IMAGES }
    }

    /// Rows and columns of targets that are computed together.
    pub fn tile(&self) -> usize {
        if self.winograd { 2 } else { 1 }
    }

    /// f32 numbers whose memory holds so many factors.
    pub fn floats(&self, factors: usize) -> usize {
        match self.matmul {
            Matmul::F32 => factors,
            Matmul::Bf16 { terms, .. } => (factors * terms).div_ceil(2),
        }
    }

    /// Taps of the weight, or products per tile.
    pub fn points(&self) -> usize {
        match self.winograd {
            true => winograd::POINTS,
            false => self.taps(),
        }
    }

    /// Blocks of source channels and of target channels.
    pub fn blocks(&self) -> [usize; 2] {
        let [_, _, c_in, c_out] = self.weight.0;
        let sources = self.direction.sources(self.weight);
        [sources, c_in + c_out - sources].map(|c| c.div_ceil(BLOCK))
    }

    /// How source rows are packed, `images` side by side.
    pub fn source_rows<'a>(&self, x: &'a [f32], norm: Option<Norm<'a>>, images: usize) -> Rows<'a> {
        let [left, right] = self.columns.padding();
        let overhang = self.winograd as usize * (self.columns.target % 2);
        Rows {
            x,
            shape: self.source,
            norm,
            patches: self.patches,
            planes: self.columns.planes,
            left,
            columns: left + self.columns.plane_len(0) + right + overhang,
            blocks: 0..self.blocks()[0],
            images,
        }
    }

    /// Computes all of `target`, and the sums over it.
    pub fn run(
        &self,
        source: &[f32],
        norm: Option<Norm>,
        w: &[f32],
        epilogue: &Epilogue,
        partials: Option<Partials>,
        target: &mut [f32],
    ) {
        let [sources, targets] = self.blocks();
        let image = self.target.with_n(1).len();
        // A task has whole units of the partials. How many images lie side by side decides the order in which a
        // unit is summed up, and so must not depend on the threads: either they are whole units, or a unit is cut
        // as the shapes say.
        let unit = partials.as_ref().map_or(1, |p| p.images_per_unit);
        let most = match self.images() {
            most if unit < most => most / unit * unit,
            most => most,
        };
        let share = self.target.n().div_ceil(rayon::current_num_threads());
        let share = share.next_multiple_of(unit).min(self.target.n());
        let rows = self.source_rows(source, norm, most.min(share));
        let images = rows.images.next_multiple_of(unit);
        let mut units = partials.map(|p| {
            let len = p.unit_len(epilogue.mask.is_some(), self.target.c()) * (images / unit);
            let [images_per_unit, blocks_per_unit] = [p.images_per_unit, p.blocks_per_unit];
            p.data.chunks_mut(len).map(move |data| Partials {
                data,
                images_per_unit,
                blocks_per_unit,
            })
        });
        let tasks = target.chunks_mut(images * image);
        let tasks: Vec<_> = tasks
            .enumerate()
            .map(|(i, target)| (i * images, target, units.as_mut().and_then(Iterator::next)))
            .collect();
        let len = self.floats(self.points() * sources * targets * SQUARE);
        lend(&SHARED, len, |packed| {
            match self.matmul {
                Matmul::Bf16 { terms, .. } => {
                    let packed = bytemuck::cast_slice_mut(packed);
                    pack::weight_bf16(w, self.weight, self.direction, terms, packed);
                }
                Matmul::F32 if self.winograd => {
                    winograd::weight(w, self.weight, self.direction, packed);
                }
                Matmul::F32 => pack::weight(w, self.weight, self.direction, packed),
            }
            let work = Work::new(self, &rows, packed, epilogue);
            tasks
                .into_par_iter()
                .for_each(|(first, target, mut partials)| {
                    let partials = &mut partials;
                    dispatch!(level(), s => work.run(s, first, target, partials));
                });
        });
    }
}

/// What all tasks of one call share.
pub struct Work<'a> {
    pub conv: &'a Correlate,
    pub rows: &'a Rows<'a>,
    /// The packed weight.
    pub w: &'a [f32],
    epilogue: &'a Epilogue<'a>,
    /// Runs of columns of each class.
    runs: Vec<Vec<Run>>,
    /// Target rows that are computed together, so that the weights are read less often.
    group: usize,
    /// Source rows that are kept; row `i` stands at `i % ring`. Behind them stands a row of zeros.
    pub ring: usize,
}

impl<'a> Work<'a> {
    fn new(conv: &'a Correlate, rows: &'a Rows, w: &'a [f32], epilogue: &'a Epilogue) -> Work<'a> {
        let runs = |class| {
            let mut runs = conv.columns.runs(class);
            // A few images alone do not fill a tile: the zeros around the image are multiplied too.
            if rows.images < BLOCK / 4 {
                runs = vec![Run {
                    targets: 0..class.count,
                    taps: class.taps.clone(),
                }];
            }
            runs
        };
        let step = conv.tile();
        let mut work = Work {
            conv,
            rows,
            w,
            epilogue,
            runs: conv.columns.classes.iter().map(runs).collect(),
            group: step,
            ring: conv.rows.span(step),
        };
        for group in (2 * step..=conv.rows.target).step_by(step) {
            let ring = conv.rows.span(group);
            let packed = conv.floats((ring + 1) * rows.row_len());
            if conv.winograd || packed + group * work.out_len() > CACHED {
                break;
            }
            (work.group, work.ring) = (group, ring);
        }
        work
    }

    /// Elements of a target row, `[block][column, class by class][image][32]`.
    pub fn out_len(&self) -> usize {
        self.conv.blocks()[1] * self.conv.columns.target * self.rows.column_len()
    }

    /// Computes the images from `first` on that `target` has room for.
    fn run<S: Simd>(
        &self,
        s: S,
        first: usize,
        target: &mut [f32],
        partials: &mut Option<Partials>,
    ) {
        let height = self.conv.rows.target;
        let all = target.len() / self.conv.target.with_n(1).len();
        let (row_len, out_len) = (self.rows.row_len(), self.out_len());
        let packed_len = self.conv.floats((self.ring + 1) * row_len);
        // A row is packed in f32 before it is rounded.
        let whole_len = match self.conv.matmul {
            Matmul::F32 => 0,
            Matmul::Bf16 { .. } => row_len,
        };
        let len = packed_len + whole_len + self.group * out_len;
        lend(&SCRATCH, len, |scratch| {
            let (packed, rest) = scratch.split_at_mut(packed_len);
            let (whole, out) = rest.split_at_mut(whole_len);
            packed.fill(0.0);
            whole.fill(0.0);
            for start in (0..all).step_by(self.rows.images) {
                let images = self.rows.images.min(all - start);
                let mut done = 0;
                for y in (0..height).step_by(self.group) {
                    let group = y..height.min(y + self.group);
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
                        Matmul::F32 if self.conv.winograd => {
                            self.winograd(s, group.clone(), packed, out);
                        }
                        Matmul::F32 => {
                            self.definition(
                                group.clone(),
                                packed,
                                self.w,
                                out,
                                |pairs, rows, out, more| {
                                    multiply(s, pairs, rows, out, more);
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
                                self.finish(y, out, first, images, target, partials.as_mut());
                            },
                        );
                    }
                }
            }
        });
    }

    /// Packs source row `i` of `images` images from `first` on in its place of the ring; in bfloat16 by way of `whole`.
    #[inline(always)]
    fn pack(&self, first: usize, images: usize, i: usize, packed: &mut [f32], whole: &mut [f32]) {
        let (slot, row_len) = (i % self.ring, self.rows.row_len());
        let Matmul::Bf16 { terms, .. } = self.conv.matmul else {
            let row = &mut packed[slot * row_len..][..row_len];
            return self.rows.pack(first, images, i, row);
        };
        self.rows.pack(first, images, i, whole);
        let packed: &mut [u16] = bytemuck::cast_slice_mut(packed);
        let row = &mut packed[slot * terms * row_len..][..terms * row_len];
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
        run: &Run,
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
                    for [of_a, of_b] in dot::products(terms) {
                        let row = &row[of_a * row_len..][..row_len];
                        let a = self.rows.from(row, tap_x.plane, source, column);
                        pairs.push((a, &w[(b * terms + of_b) * SQUARE..][..SQUARE]));
                    }
                }
            }
        }
    }

    /// Writes row `y` of images `from..to` of the task, whose first image is `first`.
    #[inline(always)]
    fn finish(
        &self,
        y: usize,
        out: &[f32],
        first: usize,
        [from, to]: [usize; 2],
        target: &mut [f32],
        mut partials: Option<&mut Partials>,
    ) {
        let [_, h, w, c] = self.conv.target.0;
        for n in from..to {
            let at = (n * h + y) * w * c;
            let row = &mut target[at..at + w * c];
            self.unpack(n - from, out, row);
            let at = first * h * w * c + at;
            self.epilogue.apply(row, at, c);
            if let Some(partials) = &mut partials {
                partials.add(row, at, c, n, y == 0, self.epilogue.mask);
            }
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
