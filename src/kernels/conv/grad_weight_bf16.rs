//! The gradient of the weight in bfloat16. The sum is over pixels, so x is turned to have them in its rows.
use super::block::{BLOCK, SQUARE};
use super::grad_weight::GradWeightTask;
use super::micro_bf16::{Multiplier, pack_square, products, split, transpose};
use super::pack::Rows;
use super::scratch::{PRODUCTS, SCRATCH, lend};
use crate::kernels::floats::Floats;
use fearless_simd::prelude::*;

/// Where the packed rows of a task stand, in bfloat16 numbers.
struct RowLayout {
    terms: usize,
    /// Images of a pixel times pixels of a row of x, padding included.
    x_depth: usize,
    /// The same of dy, in whole squares.
    dy_depth: usize,
}

impl GradWeightTask<'_> {
    /// Adds the products of all images to `sums`, `[block of c_out][tap][block of c_in][32][32]`.
    pub fn run_bf16<S: Simd>(&self, s: S, terms: usize, unit: &Multiplier, sums: &mut [f32]) {
        let GradWeightTask {
            conv,
            x,
            dy,
            images,
        } = self;
        let layout = RowLayout {
            terms,
            x_depth: x.columns * x.images,
            dy_depth: (dy.columns * dy.images).next_multiple_of(BLOCK),
        };
        let ring = conv.rows.span(1);
        let x_len = terms * x.row_len();
        let dy_len = terms * dy.blocks.len() * layout.dy_depth * BLOCK;
        // Rows of dy end in zeros up to a whole square; what they are multiplied by may lie behind the last row of x.
        let halves =
            (ring * x_len + BLOCK + dy_len + terms * layout.dy_depth.max(layout.x_depth) * BLOCK)
                .div_ceil(2);
        let whole_len = x.row_len() + dy.row_len();
        lend(&SCRATCH, whole_len, |whole| {
            lend(&PRODUCTS, halves, |halves| {
                let (x_row, dy_row) = whole.split_at_mut(x.row_len());
                let halves: &mut [u16] = bytemuck::cast_slice_mut(halves);
                halves.fill(0);
                let (x_halves, rest) = halves.split_at_mut(ring * x_len + BLOCK);
                let (dy_halves, scratch) = rest.split_at_mut(dy_len);
                for first in images.clone().step_by(x.images) {
                    let count = x.images.min(images.end - first);
                    // What a block of images before left behind must not count.
                    x_row.fill(0.0);
                    dy_row.fill(0.0);
                    let mut done = 0;
                    for y in 0..conv.rows.target {
                        let needed = conv.rows.sources(y..y + 1);
                        s.vectorize(
                            #[inline(always)]
                            || {
                                for i in needed.start.max(done)..needed.end {
                                    let to = &mut x_halves[i % ring * x_len..][..x_len];
                                    let row = layout.pack(x, first, count, i, x_row);
                                    layout.turn(row, to, scratch);
                                }
                                let row = layout.pack(dy, first, count, y, dy_row);
                                layout.pair(dy, row, dy_halves, scratch);
                            },
                        );
                        done = done.max(needed.end);
                        for (tap_y, i) in conv.rows.seen(y) {
                            let row = &x_halves[i % ring * x_len..][..x_len + BLOCK];
                            let tap = tap_y.k * conv.weight.0[1];
                            self.products_bf16(&layout, unit, tap, row, dy_halves, sums);
                        }
                    }
                }
            });
        });
    }

    /// Adds what the taps of one line of the kernel, from `tap` on, saw in a row of x.
    fn products_bf16(
        &self,
        layout: &RowLayout,
        unit: &Multiplier,
        tap: usize,
        x_row: &[u16],
        dy_row: &[u16],
        sums: &mut [f32],
    ) {
        let GradWeightTask { conv, x, dy, .. } = self;
        let (sources, targets) = (x.blocks.len(), dy.blocks.len());
        let RowLayout {
            terms,
            x_depth,
            dy_depth,
        } = *layout;
        let squares = dy_depth / BLOCK;
        let mut pairs = Vec::with_capacity(3 * squares);
        for tap_x in &conv.columns.classes[0].taps {
            let pixel = x.left.wrapping_add_signed(tap_x.shift) * x.images;
            for target in 0..targets {
                for source in 0..sources {
                    pairs.clear();
                    for square in 0..squares {
                        for [of_x, of_dy] in products(terms) {
                            let a = of_x * x.row_len()
                                + (tap_x.plane * sources + source) * x_depth * BLOCK;
                            let b = (of_dy * targets + target) * squares + square;
                            pairs.push((
                                &x_row[a + pixel + square * BLOCK..],
                                &dy_row[b * SQUARE..][..SQUARE],
                            ));
                        }
                    }
                    let at = (target * conv.taps() + tap + tap_x.k) * sources + source;
                    let sums = &mut sums[at * SQUARE..(at + 1) * SQUARE];
                    unit.multiply(&pairs, x_depth, BLOCK, sums, true);
                }
            }
        }
    }
}

impl RowLayout {
    /// Packs row `y` of some images into `room`: images of bfloat16 as they are, where a factor is one such number.
    #[inline(always)]
    fn pack<'r>(
        &self,
        rows: &Rows,
        first: usize,
        count: usize,
        y: usize,
        room: &'r mut [f32],
    ) -> Floats<'r> {
        match rows.bits().filter(|_| self.terms == 1) {
            Some(bits) => {
                let room = &mut bytemuck::cast_slice_mut(room)[..rows.row_len()];
                rows.pack_bits(bits, first, count, y, room);
                Floats::Bf16(room)
            }
            None => {
                rows.pack(first, count, y, room);
                Floats::F32(room)
            }
        }
    }

    /// Rounds a packed row of x and turns it: `[term][plane][block][32][column][image]`.
    #[inline(always)]
    fn turn(&self, row: Floats, to: &mut [u16], scratch: &mut [u16]) {
        let len = self.x_depth * BLOCK;
        let (to_hi, to_lo) = to.split_at_mut(to.len() / self.terms);
        let (hi, lo) = scratch.split_at_mut(len);
        for (i, to_hi) in to_hi.chunks_exact_mut(len).enumerate() {
            match row.slice(i * len..(i + 1) * len) {
                Floats::Bf16(row) => transpose(row, self.x_depth, to_hi),
                Floats::F32(row) => {
                    split(row, hi, (self.terms == 2).then_some(&mut *lo));
                    transpose(hi, self.x_depth, to_hi);
                }
            }
            if self.terms == 2 {
                transpose(lo, self.x_depth, &mut to_lo[i * len..][..len]);
            }
        }
    }

    /// Rounds a packed row of dy and makes squares of it: `[term][block][square]`. The numbers behind a row stay zero.
    #[inline(always)]
    fn pair(&self, dy: &Rows, row: Floats, to: &mut [u16], scratch: &mut [u16]) {
        let len = self.dy_depth * BLOCK;
        let (to_hi, to_lo) = to.split_at_mut(dy.blocks.len() * len);
        let filled = dy.columns * dy.column_len();
        let (hi, lo) = scratch.split_at_mut(len);
        for (i, to_hi) in to_hi.chunks_exact_mut(len).enumerate() {
            match row.slice(i * filled..(i + 1) * filled) {
                Floats::Bf16(row) => hi[..filled].copy_from_slice(row),
                Floats::F32(row) => split(
                    row,
                    &mut hi[..filled],
                    (self.terms == 2).then_some(&mut *lo),
                ),
            }
            hi[filled..].fill(0);
            squares(hi, to_hi);
            if self.terms == 2 {
                lo[filled..len].fill(0);
                squares(lo, &mut to_lo[i * len..][..len]);
            }
        }
    }
}

#[inline(always)]
fn squares(rows: &[u16], to: &mut [u16]) {
    for (rows, to) in rows.chunks_exact(SQUARE).zip(to.chunks_exact_mut(SQUARE)) {
        pack_square(rows, to);
    }
}
