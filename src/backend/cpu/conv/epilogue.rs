//! What happens to a finished row of targets while it is in the cache.
use super::tile::BLOCK;
use crate::ops::Norm;

/// What is done to the targets, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added, one per channel.
    pub bias: Option<&'a [f32]>,
    /// Added, of the target's shape.
    pub skip: Option<&'a [f32]>,
    /// The ReLU that the targets are the gradient of.
    pub mask: Option<Mask<'a>>,
}

/// A ReLU behind a BatchNorm.
#[derive(Clone, Copy)]
pub struct Mask<'a> {
    /// BatchNorm's input, of the target's shape.
    pub pre: &'a [f32],
    /// What BatchNorm makes of it.
    pub norm: Norm<'a>,
    /// The ReLU's output where something was added before it; else it is worked out again.
    pub out: Option<&'a [f32]>,
}

/// Sums over the targets of some images, without a mask their count, mean and M2, `[blocks, 3, c]`; with one `Σ v` and
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
        self.blocks_per_unit * if masked { 2 } else { 3 } * c
    }

    /// Adds a row of image `n`, the first of which is element `at` of the whole tensor.
    #[inline(always)]
    pub fn add(
        &mut self,
        row: &[f32],
        at: usize,
        c: usize,
        n: usize,
        first: bool,
        mask: Option<Mask>,
    ) {
        let len = self.unit_len(mask.is_some(), c);
        let start = n / self.images_per_unit * len;
        // The last unit of a batch may have fewer blocks.
        let end = self.data.len().min(start + len);
        let unit = &mut self.data[start..end];
        if first && n.is_multiple_of(self.images_per_unit) {
            unit.fill(0.0);
        }
        match mask {
            Some(Mask { pre, norm, .. }) => {
                add_products(row, &pre[at..at + row.len()], &norm, &mut unit[..2 * c]);
            }
            None => merge_moments(row, &mut unit[..3 * c]),
        }
    }
}

impl Epilogue<'_> {
    /// Changes a row of targets, the first of which is element `at` of the whole tensor.
    #[inline(always)]
    pub fn apply(&self, row: &mut [f32], at: usize, c: usize) {
        let end = at + row.len();
        if let Some(bias) = self.bias {
            for pixel in row.chunks_exact_mut(c) {
                pixel.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        if let Some(skip) = self.skip {
            row.iter_mut()
                .zip(&skip[at..end])
                .for_each(|(v, skip)| *v += skip);
        }
        let Some(Mask { pre, norm, out }) = self.mask else {
            return;
        };
        if let Some(out) = out {
            for (v, out) in row.iter_mut().zip(&out[at..end]) {
                *v = if *out > 0.0 { *v } else { 0.0 };
            }
            return;
        }
        let (scale, shift) = (&norm.scale[..c], &norm.shift[..c]);
        for (pixel, pre) in row.chunks_exact_mut(c).zip(pre[at..end].chunks_exact(c)) {
            for i in 0..c {
                pixel[i] = if pre[i] * scale[i] + shift[i] > 0.0 {
                    pixel[i]
                } else {
                    0.0
                };
            }
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

/// Merges a row's pixels into count, mean and M2 by the rule of Chan, Golub and LeVeque (1979).
///
/// Within the row, distances are from its first pixel: they are of the size of the spread, whatever the mean.
#[inline(always)]
fn merge_moments(row: &[f32], sums: &mut [f32]) {
    let c = sums.len() / 3;
    let (count, moments) = sums.split_at_mut(c);
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
            let d = row[i] + sum / pixels - mean[i];
            mean[i] += d * share;
            let within = square - sum * (sum / pixels);
            // Rounding may leave a constant row a negative sum of squares.
            m2[i] += if within < 0.0 { 0.0 } else { within } + d * d * both;
        }
    }
    count.fill(total);
}
