//! What happens to a finished row of targets while it is in the cache.
use super::block::BLOCK;
use crate::kernels::floats::Floats;
use crate::kernels::{MOMENTS, Norm};

/// What is done to the targets, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added, one per channel.
    pub bias: Option<&'a [f32]>,
    /// Added, of the target's shape.
    pub skip: Option<Floats<'a>>,
    /// The ReLU that the targets are the gradient of.
    pub mask: Option<MaskInputs<'a>>,
}

/// A ReLU behind a BatchNorm.
#[derive(Clone, Copy)]
pub struct MaskInputs<'a> {
    /// BatchNorm's input, of the target's shape.
    pub pre: Floats<'a>,
    /// What BatchNorm makes of it.
    pub norm: Norm<'a>,
    /// The ReLU's output where something was added before it; else it is worked out again.
    pub out: Option<Floats<'a>>,
}

/// Sums over the targets of some images, without a mask their [`MOMENTS`], `[blocks, 4, c]`; with one `Σ v` and
/// `Σ v·x̂`, `[blocks, 2, c]`.
pub struct Partials<'a> {
    /// The blocks.
    pub data: &'a mut [f32],
    /// Images whose sums stand together, in the first block of a unit.
    pub images_per_unit: usize,
    /// Blocks of a unit; all but the first are zero.
    pub blocks_per_unit: usize,
}

impl Partials<'_> {
    /// Elements of a unit.
    pub fn unit_len(&self, masked: bool, c: usize) -> usize {
        self.blocks_per_unit * if masked { 2 } else { MOMENTS } * c
    }

    /// The sums of the unit of image `n`, at zero when `first` says that this is the unit's first row.
    #[inline(always)]
    fn unit(&mut self, len: usize, n: usize, first: bool) -> &mut [f32] {
        let start = n / self.images_per_unit * len;
        // The last unit of a batch may have fewer blocks.
        let end = self.data.len().min(start + len);
        let unit = &mut self.data[start..end];
        if first && n.is_multiple_of(self.images_per_unit) {
            unit.fill(0.0);
        }
        unit
    }
}

/// Where a row of targets stands.
#[derive(Clone, Copy)]
pub struct RowPlace {
    /// Its first element in the whole tensor.
    pub at: usize,
    /// Its image among those that the partials are of.
    pub image: usize,
    /// Its number in the image.
    pub y: usize,
}

/// Rows of f32 that [`Epilogue::apply`] needs beside the one it changes.
pub const ROOMS: usize = 2;

impl Epilogue<'_> {
    /// Changes a row of targets and adds it to the partials, before it is rounded to what is stored. `rooms` has
    /// `ROOMS` rows for what is read of bfloat16.
    #[inline(always)]
    pub fn apply(
        &self,
        row: &mut [f32],
        place: RowPlace,
        c: usize,
        rooms: &mut [f32],
        partials: Option<&mut Partials>,
    ) {
        let RowPlace { at, image, y } = place;
        let part = at..at + row.len();
        let (room, room_of_pre) = rooms.split_at_mut(rooms.len() / ROOMS);
        if let Some(bias) = self.bias {
            for pixel in row.chunks_exact_mut(c) {
                pixel.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        if let Some(skip) = self.skip {
            row.iter_mut()
                .zip(skip.row(part.clone(), room))
                .for_each(|(v, skip)| *v += skip);
        }
        let unit = partials.map(|partials| {
            let len = partials.unit_len(self.mask.is_some(), c);
            partials.unit(len, image, y == 0)
        });
        let Some(MaskInputs { pre, norm, out }) = self.mask else {
            if let Some(unit) = unit {
                merge_moments(row, &mut unit[..MOMENTS * c]);
            }
            return;
        };
        let pre = pre.row(part.clone(), room_of_pre);
        match out {
            Some(out) => {
                for (v, out) in row.iter_mut().zip(out.row(part, room)) {
                    *v = if *out > 0.0 { *v } else { 0.0 };
                }
            }
            None => mask(row, pre, &norm),
        }
        if let Some(unit) = unit {
            add_products(row, pre, &norm, &mut unit[..2 * c]);
        }
    }
}

/// Keeps what the ReLU of `pre·scale + shift` let through.
#[inline(always)]
fn mask(row: &mut [f32], pre: &[f32], norm: &Norm) {
    let c = norm.scale.len();
    let (scale, shift) = (&norm.scale[..c], &norm.shift[..c]);
    for (pixel, pre) in row.chunks_exact_mut(c).zip(pre.chunks_exact(c)) {
        for i in 0..c {
            // Read whether it is kept or not, so that there is no branch to stand in the way of SIMD.
            let v = pixel[i];
            let kept = pre[i] * scale[i] + shift[i] > 0.0;
            pixel[i] = if kept { v } else { 0.0 };
        }
    }
}

/// Adds `Σ v` and `Σ v·x̂` of a row's pixels.
#[inline(always)]
fn add_products(row: &[f32], pre: &[f32], norm: &Norm, sums: &mut [f32]) {
    let c = sums.len() / 2;
    let (sum, product) = sums.split_at_mut(c);
    // Slices of a known length: no bounds check is left to stand in the way of SIMD.
    let (mean, rstd, product) = (&norm.mean[..c], &norm.rstd[..c], &mut product[..c]);
    for (v, pre) in row.chunks_exact(c).zip(pre.chunks_exact(c)) {
        for i in 0..c {
            sum[i] += v[i];
            product[i] += v[i] * ((pre[i] - mean[i]) * rstd[i]);
        }
    }
}

/// Merges a row's pixels into the [`MOMENTS`] before by the rule of Chan, Golub and LeVeque (1979).
///
/// Within the row, distances are from its first pixel, and the mean's is from the first pixel of the first row: they are
/// of the size of the spread, whatever the mean.
#[inline(always)]
fn merge_moments(row: &[f32], sums: &mut [f32]) {
    let c = sums.len() / MOMENTS;
    let (count, moments) = sums.split_at_mut(c);
    let (first, moments) = moments.split_at_mut(c);
    if count[0] == 0.0 {
        first.copy_from_slice(&row[..c]);
    }
    let (mean, m2) = moments.split_at_mut(c);
    let pixels = (row.len() / c) as f32;
    let total = count[0] + pixels;
    let share = pixels / total;
    let both = count[0] * share;
    for start in (0..c).step_by(BLOCK) {
        let end = c.min(start + BLOCK);
        let pivot = &row[start..end];
        let (mut sum, mut square) = ([0.0; BLOCK], [0.0; BLOCK]);
        for pixel in row.chunks_exact(c) {
            let pairs = pixel[start..end].iter().zip(pivot);
            for ((sum, square), (x, pivot)) in sum.iter_mut().zip(&mut square).zip(pairs) {
                let d = x - pivot;
                *sum += d;
                *square += d * d;
            }
        }
        for i in start..end {
            let (sum, square) = (sum[i - start], square[i - start]);
            let d = (row[i] - first[i]) + sum / pixels - mean[i];
            mean[i] += d * share;
            let within = square - sum * (sum / pixels);
            // Rounding may leave a constant row a negative sum of squares.
            m2[i] += if within < 0.0 { 0.0 } else { within } + d * d * both;
        }
    }
    count.fill(total);
}
