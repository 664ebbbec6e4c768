//! Convolution on the CPU: blocks of the patch matrix that stay in a core's cache, times the weight.
//! How the work is divided depends on the shapes alone, so the bits do not depend on the threads.
use super::patches::Patches;
use crate::backend::cpu::gemm::{Matrix, gemm};
use crate::graph::Shape;
use crate::ops::Window;
use rayon::prelude::*;
use std::{cell::RefCell, ops::Range};

/// Rows of the patch matrix per block.
const ROWS: usize = 192;
/// Most columns of the patch matrix per block: with `ROWS` about 0.9 MB, which an L2 cache holds.
const COLUMNS: usize = 1152;
/// Most rows of a weight gradient per task.
const GRAD_ROWS: usize = 384;

thread_local! {
    /// The block of the patch matrix that this thread works on.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `y = patches(x)·w + b`.
pub(super) fn forward(patches: &Patches, x: &[f32], w: &[f32], b: Option<&[f32]>, y: &mut [f32]) {
    let c_out = w.len() / patches.columns();
    y.par_chunks_mut(ROWS * c_out)
        .enumerate()
        .for_each(|(block, y)| {
            let rows = block * ROWS..block * ROWS + y.len() / c_out;
            match b {
                Some(b) => y.chunks_exact_mut(c_out).for_each(|y| y.copy_from_slice(b)),
                None => y.fill(0.0),
            }
            with_scratch(ROWS * COLUMNS, |scratch| {
                accumulate(patches, x, rows, w, y, scratch);
            });
        });
}

/// `dx` from `dy` and `w`; x, w and y in `shapes`.
///
/// Input pixels with the same remainders by the stride saw the same taps. Each such class is a
/// convolution of dy with those taps in reverse order, without a stride.
pub(super) fn grad_input(
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    shapes: [Shape; 3],
    window: Window,
) {
    let [x, _, _] = shapes;
    let [_, _, width, c_in] = x.0;
    let stride = window.stride;
    let classes: Vec<Class> = (0..stride * stride)
        .map(|i| Class::new([i / stride, i % stride], w, shapes, window))
        .filter(|class| class.patches.rows_per_image() > 0)
        .collect();
    let image = x.with_n(1).len();
    let images = ROWS.div_ceil(classes[0].patches.rows_per_image());
    dx.par_chunks_mut(images * image)
        .enumerate()
        .for_each(|(block, dx)| {
            with_scratch(ROWS * (COLUMNS + c_in), |scratch| {
                let (scratch, result) = scratch.split_at_mut(ROWS * COLUMNS);
                for class in &classes {
                    let per_image = class.patches.rows_per_image();
                    let [_, grid_w] = class.patches.grid;
                    let first = block * images * per_image;
                    let all = dx.len() / image * per_image;
                    for start in (0..all).step_by(ROWS) {
                        let end = all.min(start + ROWS);
                        let result = &mut result[..(end - start) * c_in];
                        result.fill(0.0);
                        let rows = first + start..first + end;
                        accumulate(&class.patches, dy, rows, &class.w, result, scratch);
                        for (row, result) in (start..end).zip(result.chunks_exact(c_in)) {
                            let (n, pixel) = (row / per_image, row % per_image);
                            let iy = pixel / grid_w * stride + class.offset[0];
                            let ix = pixel % grid_w * stride + class.offset[1];
                            let at = n * image + (iy * width + ix) * c_in;
                            dx[at..at + c_in].copy_from_slice(result);
                        }
                    }
                }
            });
        });
}

/// Partial gradients `patches(x)ᵀ·dy`, one per `images_per_split` images.
pub(super) fn grad_weight(
    patches: &Patches,
    x: &[f32],
    dy: &[f32],
    partials: &mut [f32],
    images_per_split: usize,
) {
    let all = patches.image.n() * patches.rows_per_image();
    let c_out = dy.len() / all;
    let per_split = images_per_split * patches.rows_per_image();
    let columns = patches.columns();
    let task = |split: usize, block: usize, dw: &mut [f32]| {
        let columns = block * GRAD_ROWS..block * GRAD_ROWS + dw.len() / c_out;
        let rows = split * per_split..all.min((split + 1) * per_split);
        with_scratch(ROWS * GRAD_ROWS, |scratch| {
            for start in rows.clone().step_by(ROWS) {
                let block = start..rows.end.min(start + ROWS);
                let dy = &dy[block.start * c_out..block.end * c_out];
                let a = patches.block(x, block, columns.clone(), scratch);
                let a = Matrix::new(a, columns.len()).transposed();
                gemm(dw, a, Matrix::new(dy, c_out), start > rows.start);
            }
        });
    };
    partials
        .par_chunks_mut(columns * c_out)
        .enumerate()
        .for_each(|(split, dw)| {
            dw.par_chunks_mut(GRAD_ROWS * c_out)
                .enumerate()
                .for_each(|(block, dw)| task(split, block, dw));
        });
}

/// `y += patches(x)[rows]·w`, block of columns by block.
fn accumulate(
    patches: &Patches,
    x: &[f32],
    rows: Range<usize>,
    w: &[f32],
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let all = patches.columns();
    let c_out = y.len() / rows.len();
    for start in (0..all).step_by(COLUMNS) {
        let columns = start..all.min(start + COLUMNS);
        let w = &w[columns.start * c_out..columns.end * c_out];
        let width = columns.len();
        let block = patches.block(x, rows.clone(), columns, scratch);
        gemm(y, Matrix::new(block, width), Matrix::new(w, c_out), true);
    }
}

/// The input pixels `(y·stride + offset[0], x·stride + offset[1])`.
struct Class {
    offset: [usize; 2],
    /// The pixels of dy that they see.
    patches: Patches,
    /// The taps that they see: `[taps_h, taps_w, c_out, c_in]`.
    w: Vec<f32>,
}

impl Class {
    fn new(offset: [usize; 2], w: &[f32], shapes: [Shape; 3], window: Window) -> Class {
        let [x, w_shape, dy] = shapes;
        let [_, k_w, c_in, c_out] = w_shape.0;
        let Window {
            kernel,
            stride,
            pad,
        } = window;
        // Along an axis, tap k sees pixel i of dy's grid where i·stride + k = offset + pad + (a multiple
        // of the stride): k = k_first + j·stride, and each further tap sees one pixel before.
        let k_first = offset.map(|o| (o + pad) % stride);
        let taps = k_first.map(|k| kernel.saturating_sub(k).div_ceil(stride));
        let first = [0, 1].map(|a| ((offset[a] + pad) / stride) as isize - taps[a] as isize + 1);
        let grid = [0, 1].map(|a| x.0[a + 1].saturating_sub(offset[a]).div_ceil(stride));
        let patches = Patches {
            image: dy,
            grid,
            step: 1,
            first,
            taps,
        };
        let mut reversed = vec![0.0; taps[0] * taps[1] * c_in * c_out];
        reversed
            .par_chunks_mut(c_in * c_out)
            .enumerate()
            .for_each(|(tap, to)| {
                let back = [taps[0] - 1 - tap / taps[1], taps[1] - 1 - tap % taps[1]];
                let k = [0, 1].map(|a| k_first[a] + back[a] * stride);
                let from = &w[(k[0] * k_w + k[1]) * c_in * c_out..][..c_in * c_out];
                transpose(from, to, c_in, c_out);
            });
        Class {
            offset,
            patches,
            w: reversed,
        }
    }
}

/// Writes the `rows × cols` matrix `from` as `cols × rows`, in squares that stay in the L1 cache.
fn transpose(from: &[f32], to: &mut [f32], rows: usize, cols: usize) {
    const SIDE: usize = 16;
    for i in (0..rows).step_by(SIDE) {
        for j in (0..cols).step_by(SIDE) {
            for i in i..rows.min(i + SIDE) {
                for j in j..cols.min(j + SIDE) {
                    to[j * rows + i] = from[i * cols + j];
                }
            }
        }
    }
}

/// Lends this thread's scratch memory, at least `len` elements of unspecified contents.
fn with_scratch(len: usize, work: impl FnOnce(&mut [f32])) {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        work(&mut scratch[..len]);
    });
}
