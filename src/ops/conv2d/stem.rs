//! `shaders/conv2d/stem.wgsl` and its neighbours are a template for convolutions of images of few channels; this
//! says which those are, and names and renders its variants.
use super::ConvPass;
use super::blocks::Blocks;
use super::template::{MOMENTS, STEM, STEM_FORWARD, STEM_GRAD_WEIGHT, render};
use crate::kernels::Window;
use crate::ops::stored::stored;
use crate::tensor::{DType, Shape};
use minijinja::context;
use std::collections::BTreeMap;

/// Pixels of a result that a workgroup computes at a time: rows × columns.
const TILE: [usize; 2] = [8, 16];
/// Pixels of a row that one invocation takes together.
const RUN: usize = 8;
/// Columns of four channels of a workgroup.
const COLUMNS: usize = 16;
/// The most that a patch of the image may take of a workgroup's 16 KiB: half of it.
const PATCH_BYTES: usize = 8 << 10;
/// Taps whose weights a workgroup keeps at a time, unless a row of them is more.
const STAGE: usize = 16;

/// A variant of the template.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StemKernel {
    /// Forward or the weight's gradient.
    pub pass: ConvPass,
    /// What images and their gradients are stored as, f32 or f16.
    pub stored: DType,
    /// Size of the window.
    pub kernel: usize,
    /// Its stride.
    pub stride: usize,
}

impl StemKernel {
    /// Whether it is this template that computes the convolution with a weight `w` and its gradient:
    /// fewer than four channels are read, of which no load could fetch four at once, whole vectors of them
    /// are written, there is more than one tap to serve, and the patch of the image is small enough.
    pub(super) fn serves(window: Window, w: Shape) -> bool {
        let [_, _, c_in, c_out] = w.0;
        let [height, pitch] = patch(window.kernel, window.stride);
        c_in < 4
            && c_out.is_multiple_of(4)
            && (2..=7).contains(&window.kernel)
            && height * pitch * 16 <= PATCH_BYTES
    }

    /// The variant for a window.
    pub(super) fn new(pass: ConvPass, stored: DType, window: Window) -> StemKernel {
        StemKernel {
            pass,
            stored,
            kernel: window.kernel,
            stride: window.stride,
        }
    }

    /// The cut of the pixels of `y`: tiles of one image.
    pub(super) fn blocks(y: Shape) -> Blocks {
        let [_, height, width, _] = y.0;
        let [rows, columns] = TILE;
        let tiles = height.div_ceil(rows) * width.div_ceil(columns);
        Blocks::new(tiles * rows * columns, rows * columns)
    }

    /// Workgroups for one weight gradient, which have all taps of one input channel.
    pub(super) fn tiles(w: Shape) -> usize {
        let [_, _, c_in, c_out] = w.0;
        c_in * c_out.div_ceil(4 * COLUMNS)
    }

    /// Workgroups for so many blocks of pixels and so many channels.
    pub(super) fn groups(blocks: usize, c_out: usize) -> usize {
        blocks * c_out.div_ceil(4 * COLUMNS)
    }

    /// A name for people and files: the pass with what is fused into it, the window and its stride.
    pub fn label(self) -> String {
        let (pass, kernel, stride) = (self.pass.label(), self.kernel, self.stride);
        let stored = match self.stored {
            DType::F32 => String::new(),
            stored => format!(".{stored}"),
        };
        format!("conv2d_stem.{pass}{stored}.{kernel}x{kernel}.stride{stride}")
    }

    /// The module's WGSL source.
    pub fn wgsl(self) -> String {
        let (k, s) = (self.kernel, self.stride);
        let [patch_h, pitch] = patch(k, s);
        let stage = (STAGE / k).clamp(1, k);
        let at: BTreeMap<&str, usize> = self.pass.tensors().into_iter().zip(1..).collect();
        let runs = TILE[0] * TILE[1] / RUN;
        let across = COLUMNS / 2;
        let (part, invocations, rows_b, reduced) = match self.pass {
            // A run of 8 pixels × 8 channels each. The sums of the runs' moments take both arrays.
            ConvPass::Forward { moments, .. } => {
                let reduced = if moments { runs * COLUMNS } else { 0 };
                (STEM_FORWARD, runs * across, stage * k, reduced)
            }
            // k taps × 8 channels each, in 4 slices; a power of two, to load 32 pixels evenly.
            _ => (
                STEM_GRAD_WEIGHT,
                (4 * k * across).next_power_of_two(),
                32,
                0,
            ),
        };
        let vectors = ((RUN - 1) * s + k).div_ceil(4);
        let numbers = |n: usize| (0..n).collect::<Vec<usize>>();
        let sums = context! {
            a => "patch_x",
            b => "shared_b",
            row => "run",
            col => "col",
            rows => runs,
            across,
            line => COLUMNS,
            values => numbers(RUN),
        };
        let context = context! {
            at,
            sums => (reduced > 0).then_some(sums),
            element => self.stored.to_string(),
            stored => stored(self.stored, true),
            k,
            s,
            tile_h => TILE[0],
            patch_h,
            pitch,
            patch_size => (patch_h * pitch).max(reduced),
            rows_b,
            size_b => (rows_b * COLUMNS).max(reduced),
            stage,
            taps => numbers(k),
            run => numbers(RUN),
            vectors => numbers(vectors),
            loads_of_run => vectors + 2 * k,
            load_columns => (0..TILE[1]).step_by(invocations / COLUMNS).collect::<Vec<usize>>(),
            loads => numbers(32 * COLUMNS / invocations),
            invocations,
            four => numbers(4),
            parts => ["x", "y", "z", "w"],
        };
        render(&[STEM, MOMENTS, part], context)
    }
}

/// Rows of the patch of the image below a tile, and vectors of four columns.
fn patch(kernel: usize, stride: usize) -> [usize; 2] {
    let [rows, columns] = TILE.map(|pixels| (pixels - 1) * stride + kernel);
    [rows, columns.div_ceil(4)]
}
