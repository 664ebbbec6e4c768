//! The forward pass and the gradient of the image, which are one thing: every target pixel sums, over the taps that
//! lie inside the source, its channels times a block of the weight.
use super::axis::Axis;
use super::epilogue::{Epilogue, Partials};
use super::micro_f32::{BLOCK, SQUARE};
use super::pack::{self, Direction, Rows};
use super::task::{Part, Work};
use super::{Geometry, IMAGES, SHARED, lend, winograd};
use crate::kernels::Norm;
use crate::kernels::Window;
use crate::kernels::floats::{Floats, FloatsMut};
use crate::kernels::precision::{Matmul, Unit};
use crate::kernels::simd::level;
use crate::tensor::Shape;
use fearless_simd::dispatch;
use rayon::prelude::*;

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
    /// Whether tiles of targets are made by Winograd's algorithm, and which.
    pub winograd: Option<winograd::Tile>,
    /// How the products are made.
    pub matmul: Matmul,
    direction: Direction,
    source: Shape,
    pub target: Shape,
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
            winograd: None,
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
            winograd: None,
            matmul: Matmul::current(),
            direction: Direction::Backward,
            source: g.y,
            target: g.x,
        }
        .choose(g)
    }

    /// Takes Winograd's algorithm where it pays, which is f32 always: its sums of sources would be rounded once more in
    /// bfloat16.
    fn choose(mut self, g: &Geometry) -> Correlate {
        // How many products the definition makes in the time of one in f32.
        let speed = match self.matmul {
            Matmul::F32 => 1,
            Matmul::Bf16 {
                terms: 1,
                unit: Unit::Avx512,
            } => 2,
            Matmul::Bf16 { .. } => return self,
        };
        let Window {
            kernel,
            stride,
            pad,
        } = g.window;
        if (kernel, stride) == (3, 1) && pad <= 2 && self.patches.is_none() {
            let definition = self.rows.products() * self.columns.products();
            self.winograd = winograd::Tile::choose(self.target, definition / speed);
        }
        if self.winograd.is_some() {
            self.matmul = Matmul::F32;
        }
        self
    }

    /// Taps of the weight.
    pub fn taps(&self) -> usize {
        self.weight.0[0] * self.weight.0[1]
    }

    /// The most images side by side.
    fn images(&self) -> usize {
        match self.winograd {
            Some(tile) => tile.images(self.target.0[2], winograd::ROWS),
            None => IMAGES,
        }
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
        self.winograd.map_or(self.taps(), winograd::Tile::points)
    }

    /// Blocks of source channels and of target channels.
    pub fn blocks(&self) -> [usize; 2] {
        let [_, _, c_in, c_out] = self.weight.0;
        let sources = self.direction.sources(self.weight);
        [sources, c_in + c_out - sources].map(|c| c.div_ceil(BLOCK))
    }

    /// How source rows are packed, `images` side by side.
    pub fn source_rows<'a>(
        &self,
        x: Floats<'a>,
        norm: Option<Norm<'a>>,
        images: usize,
    ) -> Rows<'a> {
        let [left, right] = self.columns.padding();
        Rows {
            x,
            shape: self.source,
            norm,
            patches: self.patches,
            planes: self.columns.planes,
            left,
            columns: left + self.columns.plane_len(0) + right,
            blocks: 0..self.blocks()[0],
            images,
        }
    }

    /// The images as Winograd's algorithm reads them.
    pub fn tile_source<'a>(&self, x: Floats<'a>, norm: Option<Norm<'a>>) -> winograd::Source<'a> {
        winograd::Source {
            x,
            shape: self.source,
            norm,
            pad: self.columns.padding()[0],
            blocks: 0..self.blocks()[0],
        }
    }

    /// Computes all of `target`, and the sums over it.
    pub fn run(
        &self,
        source: Floats,
        norm: Option<Norm>,
        w: &[f32],
        epilogue: &Epilogue,
        partials: Option<Partials>,
        target: FloatsMut,
    ) {
        lend(&SHARED, self.prepared_len(), |prepared| {
            self.prepare(w, prepared);
            self.run_prepared(source, norm, prepared, epilogue, partials, target);
        });
    }

    /// f32 numbers that a prepared weight takes.
    pub fn prepared_len(&self) -> usize {
        let [sources, targets] = self.blocks();
        self.floats(self.points() * sources * targets * SQUARE)
    }

    /// Whether preparing the weight is a noticeable part of a run.
    pub fn is_soon_done(&self) -> bool {
        let products = match self.winograd {
            Some(tile) => {
                let [_, h, w, _] = self.target.0;
                tile.points() * tile.across(h) * tile.across(w)
            }
            None => self.rows.products() * self.columns.products(),
        };
        self.target.n() * products < 4 * winograd::WEIGHT * self.points()
    }

    /// Prepares a weight as [`Correlate::run_prepared`] reads it.
    pub fn prepare(&self, w: &[f32], prepared: &mut [f32]) {
        match (self.matmul, self.winograd) {
            (Matmul::Bf16 { terms, .. }, _) => {
                let prepared = bytemuck::cast_slice_mut(prepared);
                pack::weight_bf16(w, self.weight, self.direction, terms, prepared);
            }
            (Matmul::F32, Some(tile)) => {
                winograd::weight(tile, w, self.weight, self.direction, prepared);
            }
            (Matmul::F32, None) => pack::weight(w, self.weight, self.direction, prepared),
        }
    }

    /// [`Correlate::run`] with the weight as [`Correlate::prepare`] made it.
    pub fn run_prepared(
        &self,
        source: Floats,
        norm: Option<Norm>,
        prepared: &[f32],
        epilogue: &Epilogue,
        partials: Option<Partials>,
        target: FloatsMut,
    ) {
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
        let at_once = most.min(share);
        let images = at_once.next_multiple_of(unit);
        let mut units = partials.map(|p| {
            let len = p.unit_len(epilogue.mask.is_some(), self.target.c()) * (images / unit);
            let [images_per_unit, blocks_per_unit] = [p.images_per_unit, p.blocks_per_unit];
            p.data.chunks_mut(len).map(move |data| Partials {
                data,
                images_per_unit,
                blocks_per_unit,
            })
        });
        // Images fewer than the threads are shared by them: each takes some rows, which it computes as it would in the
        // whole image.
        let threads = rayon::current_num_threads();
        let parts = match units {
            None if self.target.n() < threads => threads.div_ceil(self.target.n()),
            _ => 1,
        };
        let height = self.target.0[1];
        let step = self.winograd.map_or(1, winograd::Tile::size);
        let rows = height.div_ceil(parts).next_multiple_of(step);
        let mut tasks = Vec::new();
        for (i, target) in target.chunks(images * image).into_iter().enumerate() {
            let partials = units.as_mut().and_then(Iterator::next);
            if parts == 1 {
                tasks.push((Part::new(i * images, 0..height, target), partials));
                continue;
            }
            let bands = target.chunks(rows * image / height).into_iter().enumerate();
            tasks.extend(bands.map(|(band, target)| {
                let y = band * rows;
                (Part::new(i, y..height.min(y + rows), target), None)
            }));
        }
        if let Some(tile) = self.winograd {
            let work = winograd::Work {
                tile,
                source: self.tile_source(source, norm),
                target: self.target,
                u: prepared,
                epilogue,
                images: at_once,
            };
            tasks.into_par_iter().for_each(|(mut part, mut partials)| {
                dispatch!(level(), s => work.run(s, &mut part, &mut partials));
            });
            return;
        }
        let rows = self.source_rows(source, norm, at_once);
        let work = Work::new(self, &rows, prepared, epilogue);
        tasks.into_par_iter().for_each(|(mut part, mut partials)| {
            let partials = &mut partials;
            dispatch!(level(), s => work.run(s, &mut part, partials));
        });
    }
}
