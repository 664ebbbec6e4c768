//! How a pass is computed. The forward pass and the gradient of the image are one thing: every target pixel sums, over
//! the taps that lie inside the source, its channels times a block of the weight.
use super::axis::Axis;
use super::block::{BLOCK, SQUARE};
use super::micro_f32::Used;
use super::pack::{self, Direction, Rows};
use super::{Geometry, winograd};
use crate::kernels::Norm;
use crate::kernels::Window;
use crate::kernels::floats::Floats;
use crate::kernels::precision::{Matmul, Unit};
use crate::tensor::Shape;

/// Images that a task works on at once by the definition: enough rows for the micro-kernels at a border pixel, few
/// enough that the image rows in work stay in the L2 cache.
pub const IMAGES: usize = 16;

/// Fewer source channels than these are computed as patches.
const FEW: usize = 8;

/// How a pass is computed: products of source pixels with the weight, by the definition or by tiles.
pub struct ConvPlan {
    pub rows: Axis,
    pub columns: Axis,
    /// `[k_h, k_w, c_in, c_out]`; with patches `[1, 1, k_h·k_w·c_in, c_out]`.
    pub weight: Shape,
    /// Whole patches take the place of too few channels.
    pub patches: Option<Window>,
    /// Whether tiles of targets are made by Winograd's algorithm, and which.
    pub winograd: Option<winograd::WinogradTile>,
    /// How the products are made.
    pub matmul: Matmul,
    direction: Direction,
    source: Shape,
    pub target: Shape,
}

impl ConvPlan {
    /// From x to y.
    pub fn forward(g: &Geometry) -> ConvPlan {
        let [k_h, k_w, c_in, c_out] = g.w.0;
        let patch = k_h * k_w * c_in;
        let patches = match g.matmul {
            // What a block lacks of channels is left out; but pairs of squares in which there is hardly a channel cost
            // more than to put a patch together.
            Matmul::F32 => c_in < FEW && k_h * k_w > 1,
            // A pixel's channels are filled up to a block; a patch's may waste less.
            Matmul::Bf16 { .. } => {
                patch.next_multiple_of(BLOCK) < k_h * k_w * c_in.next_multiple_of(BLOCK)
            }
        };
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
        ConvPlan {
            rows: axis(1),
            columns: axis(2),
            weight: if patches {
                Shape([1, 1, patch, c_out])
            } else {
                g.w
            },
            patches: patches.then_some(g.window),
            winograd: None,
            matmul: g.matmul,
            direction: Direction::Forward,
            source: g.x,
            target: g.y,
        }
        .choose(g)
    }

    /// From dy to dx.
    pub fn grad_input(g: &Geometry) -> ConvPlan {
        ConvPlan {
            rows: Axis::grad_input(g.x.0[1], g.y.0[1], g.window),
            columns: Axis::grad_input(g.x.0[2], g.y.0[2], g.window),
            weight: g.w,
            patches: None,
            winograd: None,
            matmul: g.matmul,
            direction: Direction::Backward,
            source: g.y,
            target: g.x,
        }
        .choose(g)
    }

    /// Takes Winograd's algorithm where it pays, which is f32 always: its sums of sources would be rounded once more in
    /// bfloat16.
    fn choose(mut self, g: &Geometry) -> ConvPlan {
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
            let [_, h, w, _] = self.target.0;
            let definition = self.rows.products() * self.columns.products();
            self.winograd = winograd::WinogradTile::choose(g.batch, [h, w], definition / speed);
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
    pub fn images(&self) -> usize {
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
        self.winograd
            .map_or(self.taps(), winograd::WinogradTile::points)
    }

    /// Blocks of source channels and of target channels.
    pub fn blocks(&self) -> [usize; 2] {
        let [_, _, c_in, c_out] = self.weight.0;
        let sources = self.direction.sources(self.weight);
        [sources, c_in + c_out - sources].map(|c| c.div_ceil(BLOCK))
    }

    /// How much of a block of source channels and of target channels is in use: less than 32 where it is the only one.
    pub fn used(&self) -> Used {
        let [_, _, c_in, c_out] = self.weight.0;
        let sources = self.direction.sources(self.weight);
        [sources, c_in + c_out - sources].map(|c| c.min(BLOCK))
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
    pub fn tile_source<'a>(
        &self,
        x: Floats<'a>,
        norm: Option<Norm<'a>>,
    ) -> winograd::TileSource<'a> {
        winograd::TileSource {
            x,
            shape: self.source,
            norm,
            pad: self.columns.padding()[0],
            blocks: 0..self.blocks()[0],
        }
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

    /// Prepares a weight as [`super::run::run_prepared`] reads it.
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
}
