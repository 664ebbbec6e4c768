//! The micro-kernels: a few rows of a product stay in registers while everything they sum over streams by.
use super::block::{BLOCK, SQUARE};
use fearless_simd::prelude::*;

/// Pairs of a matrix with rows of 32 and a square, whose products are summed.
pub type Pairs<'a> = [(&'a [f32], &'a [f32])];

/// How far a block of 32 channels is in use, `[k, j]`: fewer than 32 are the network's channels where they fill no block.
/// What lies beyond is neither read nor written, but for the rest of two vectors.
pub type Used = [usize; 2];

/// `c[m][j] = Σ a[m][k]·b[k][j]` over the pairs (a, b) and k, for `rows` rows of 32; or `+=`.
#[inline(always)]
pub fn multiply<S: Simd>(
    s: S,
    pairs: &Pairs,
    rows: usize,
    used: Used,
    c: &mut [f32],
    accumulate: bool,
) {
    let mut m = 0;
    while m < rows {
        m += match rows - m {
            // 32 registers hold 24 sums, two b and an a; 16 registers hold 12, two and one.
            left if S::f32s::LEN == 16 && left >= 12 && left != 16 => {
                rows_times::<S, 12>(s, pairs, m, used, c, accumulate)
            }
            8.. if S::f32s::LEN == 16 => rows_times::<S, 8>(s, pairs, m, used, c, accumulate),
            6.. => rows_times::<S, 6>(s, pairs, m, used, c, accumulate),
            4.. => rows_times::<S, 4>(s, pairs, m, used, c, accumulate),
            // The last map of ResNet-18 has three columns: a single image has no more rows.
            3 => rows_times::<S, 3>(s, pairs, m, used, c, accumulate),
            2.. => rows_times::<S, 2>(s, pairs, m, used, c, accumulate),
            _ => rows_times::<S, 1>(s, pairs, m, used, c, accumulate),
        };
    }
}

/// [`multiply`] for the `M` rows from `first` on; returns `M`.
fn rows_times<S: Simd, const M: usize>(
    s: S,
    pairs: &Pairs,
    first: usize,
    [depth, width]: Used,
    c: &mut [f32],
    accumulate: bool,
) -> usize {
    s.vectorize(
        #[inline(always)]
        || {
            let rows = first * BLOCK..(first + M) * BLOCK;
            let c = &mut c[rows.clone()];
            // The compiler knows where a block ends, but not `width`.
            for j in (0..BLOCK).step_by(2 * S::f32s::LEN) {
                if j >= width {
                    break;
                }
                let mut sums = [[S::f32s::splat(s, 0.0); 2]; M];
                if accumulate {
                    load(s, c, j, &mut sums);
                }
                for &(a, b) in pairs {
                    let (a, b) = (&a[rows.clone()], &b[..SQUARE]);
                    for (k, b) in b.chunks_exact(BLOCK).enumerate().take(depth) {
                        let b = pair(s, &b[j..]);
                        for m in 0..M {
                            let a = S::f32s::splat(s, a[m * BLOCK + k]);
                            sums[m] = [a.mul_add(b[0], sums[m][0]), a.mul_add(b[1], sums[m][1])];
                        }
                    }
                }
                store::<S, M>(c, j, &sums);
            }
        },
    );
    M
}

/// `c[i][j] = Σ a[k][i]·b[k][j]` over all rows k of a and b, or `+=`; a, b and c have rows of 32, c has 32 of them, of
/// which `[i, j]` are in use.
#[inline(always)]
pub fn multiply_transposed<S: Simd>(
    s: S,
    [a, b]: [&[f32]; 2],
    [height, width]: Used,
    c: &mut [f32],
    accumulate: bool,
) {
    let mut i = 0;
    while i < height.min(BLOCK) {
        i += if S::f32s::LEN == 16 {
            columns_times::<S, 8>(s, [a, b], i, width, c, accumulate)
        } else {
            columns_times::<S, 4>(s, [a, b], i, width, c, accumulate)
        };
    }
}

/// [`multiply_transposed`] for the `M` columns of a from `first` on; returns `M`.
fn columns_times<S: Simd, const M: usize>(
    s: S,
    [a, b]: [&[f32]; 2],
    first: usize,
    width: usize,
    c: &mut [f32],
    accumulate: bool,
) -> usize {
    s.vectorize(
        #[inline(always)]
        || {
            let c = &mut c[first * BLOCK..(first + M) * BLOCK];
            // The compiler knows where a block ends, but not `width`.
            for j in (0..BLOCK).step_by(2 * S::f32s::LEN) {
                if j >= width {
                    break;
                }
                let mut sums = [[S::f32s::splat(s, 0.0); 2]; M];
                if accumulate {
                    load(s, c, j, &mut sums);
                }
                for (a, b) in a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)) {
                    let (a, b) = (&a[first..first + M], pair(s, &b[j..]));
                    for m in 0..M {
                        let a = S::f32s::splat(s, a[m]);
                        sums[m] = [a.mul_add(b[0], sums[m][0]), a.mul_add(b[1], sums[m][1])];
                    }
                }
                store::<S, M>(c, j, &sums);
            }
        },
    );
    M
}

#[inline(always)]
fn pair<S: Simd>(s: S, from: &[f32]) -> [S::f32s; 2] {
    let len = S::f32s::LEN;
    [0, len].map(|at| S::f32s::from_slice(s, &from[at..at + len]))
}

/// Reads two vectors at column `j` of each row.
#[inline(always)]
fn load<S: Simd, const M: usize>(s: S, c: &[f32], j: usize, sums: &mut [[S::f32s; 2]; M]) {
    for (sums, c) in sums.iter_mut().zip(c.chunks_exact(BLOCK)) {
        *sums = pair(s, &c[j..]);
    }
}

/// Writes two vectors at column `j` of each row.
#[inline(always)]
fn store<S: Simd, const M: usize>(c: &mut [f32], j: usize, sums: &[[S::f32s; 2]; M]) {
    let len = S::f32s::LEN;
    for (sums, c) in sums.iter().zip(c.chunks_exact_mut(BLOCK)) {
        sums[0].store_slice(&mut c[j..j + len]);
        sums[1].store_slice(&mut c[j + len..j + 2 * len]);
    }
}
