//! What the convolutions take along, on the CPU: BatchNorm and ReLU of an image before it is used,
//! and sums over the pixels of a result after it is made.
use rayon::prelude::*;

/// Rows of a `norm` tensor `[1, 1, 4, c]`.
pub(super) struct Norm<'a> {
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub mean: &'a [f32],
    pub rstd: &'a [f32],
}

impl<'a> Norm<'a> {
    pub fn new(norm: &'a [f32]) -> Norm<'a> {
        let c = norm.len() / 4;
        let row = |i: usize| &norm[i * c..(i + 1) * c];
        Norm {
            scale: row(0),
            shift: row(1),
            mean: row(2),
            rstd: row(3),
        }
    }

    /// `x·scale + shift` of channel `ch`.
    pub fn apply(&self, x: f32, ch: usize) -> f32 {
        x * self.scale[ch] + self.shift[ch]
    }
}

/// `max(x·scale + shift, 0)`; a NaN stays one.
pub(super) fn activate(x: &[f32], norm: &[f32]) -> Vec<f32> {
    let norm = Norm::new(norm);
    let c = norm.scale.len();
    let mut activated = vec![0.0; x.len()];
    activated
        .par_chunks_mut(c)
        .zip(x.par_chunks(c))
        .for_each(|(to, x)| {
            for (ch, (to, &x)) in to.iter_mut().zip(x).enumerate() {
                let z = norm.apply(x, ch);
                *to = if z < 0.0 { 0.0 } else { z };
            }
        });
    activated
}

/// Count, mean and M2 of every unit of `rows` rows of `y`, in the unit's first of `blocks` blocks
/// `[3, c]`; the others count 0 rows.
pub(super) fn moments(y: &[f32], c: usize, rows: usize, blocks: usize, partials: &mut [f32]) {
    partials.fill(0.0);
    partials
        .par_chunks_mut(blocks * 3 * c)
        .zip(y.par_chunks(rows * c))
        .for_each(|(partials, y)| {
            let count = (y.len() / c) as f64;
            let mut sums = vec![0.0_f64; c];
            for row in y.chunks_exact(c) {
                add(&mut sums, row, |_, y| f64::from(y));
            }
            let mean: Vec<f64> = sums.iter().map(|s| s / count).collect();
            sums.fill(0.0);
            for row in y.chunks_exact(c) {
                add(&mut sums, row, |ch, y| (f64::from(y) - mean[ch]).powi(2));
            }
            for ch in 0..c {
                partials[ch] = count as f32;
                partials[c + ch] = mean[ch] as f32;
                partials[2 * c + ch] = sums[ch] as f32;
            }
        });
}

/// `Σ v` and `Σ v·x̂` of every unit of `rows` rows, x̂ = (pre − mean)·rstd, in the unit's first of
/// `blocks` blocks `[2, c]`; the others are zero.
pub(super) fn products(
    v: &[f32],
    pre: &[f32],
    norm: &Norm,
    rows: usize,
    blocks: usize,
    partials: &mut [f32],
) {
    let c = norm.scale.len();
    partials.fill(0.0);
    partials
        .par_chunks_mut(blocks * 2 * c)
        .zip(v.par_chunks(rows * c).zip(pre.par_chunks(rows * c)))
        .for_each(|(partials, (v, pre))| {
            let (mut sums, mut products) = (vec![0.0_f64; c], vec![0.0_f64; c]);
            for (v, pre) in v.chunks_exact(c).zip(pre.chunks_exact(c)) {
                add(&mut sums, v, |_, v| f64::from(v));
                add(&mut products, v, |ch, v| {
                    let xhat = (pre[ch] - norm.mean[ch]) * norm.rstd[ch];
                    f64::from(v) * f64::from(xhat)
                });
            }
            for ch in 0..c {
                partials[ch] = sums[ch] as f32;
                partials[c + ch] = products[ch] as f32;
            }
        });
}

/// Adds a term per channel of a row.
fn add(sums: &mut [f64], row: &[f32], term: impl Fn(usize, f32) -> f64) {
    for (ch, (sum, &value)) in sums.iter_mut().zip(row).enumerate() {
        *sum += term(ch, value);
    }
}
