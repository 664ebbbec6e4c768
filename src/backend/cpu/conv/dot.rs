//! The micro-kernel for bfloat16: rows of 32 factors times squares of 32 × 32, added up in f32.
use super::amx::{self, TILE, Tiles};
use super::tile::{BLOCK, SQUARE};
use crate::backend::cpu::precision::Unit;
use crate::backend::cpu::simd::vectorized;

/// Elements of a square, which is packed as `[16-column half][pair of rows][column][2]`.
pub const BF16_SQUARE: usize = SQUARE;

/// Pairs of a matrix with rows of 32, so many elements apart, and a packed square, whose products are summed.
pub type Pairs<'a> = [(&'a [u16], &'a [u16])];

impl Unit {
    /// What must live while this thread calls [`multiply`].
    pub fn begin(self) -> Option<Tiles> {
        (self == Unit::Amx).then(Tiles::configure)
    }
}

/// Which term of a is multiplied by which of b, the smallest products first. That of the two small ones is left out:
/// it is of the size of what `hi + lo` itself leaves out.
pub fn products(terms: usize) -> &'static [[usize; 2]] {
    match terms {
        2 => &[[1, 0], [0, 1], [0, 0]],
        _ => &[[0, 0]],
    }
}

/// `c[m][j] = Σ a[m·stride + k]·b[k][j]` over the pairs (a, b) and k, for `rows` rows of 32; or `+=`.
pub fn multiply(
    unit: Unit,
    pairs: &Pairs,
    stride: usize,
    rows: usize,
    c: &mut [f32],
    accumulate: bool,
) {
    let mut first = 0;
    while first < rows {
        let left = rows - first;
        first += match unit {
            Unit::Amx if left >= 2 * TILE => {
                amx::multiply_rows::<true>(pairs, stride, first, c, accumulate);
                2 * TILE
            }
            Unit::Amx if left >= TILE => {
                amx::multiply_rows::<false>(pairs, stride, first, c, accumulate);
                TILE
            }
            Unit::Amx | Unit::Avx512 => avx512::multiply(pairs, stride, first, left, c, accumulate),
            Unit::Scalar => {
                vectorized(
                    #[inline(always)]
                    || row_times(pairs, first * stride, &mut c[first * BLOCK..], accumulate),
                );
                1
            }
        };
    }
}

/// One row of [`multiply`], which begins at element `at` of every a.
#[inline(always)]
fn row_times(pairs: &Pairs, at: usize, c: &mut [f32], accumulate: bool) {
    let c = &mut c[..BLOCK];
    if !accumulate {
        c.fill(0.0);
    }
    for (a, b) in pairs {
        let a = &a[at..at + BLOCK];
        for (half, b) in b[..BF16_SQUARE].chunks_exact(SQUARE / 2).enumerate() {
            let c = &mut c[half * TILE..][..TILE];
            for (b, a) in b.chunks_exact(BLOCK).zip(a.chunks_exact(2)) {
                for (c, b) in c.iter_mut().zip(b.chunks_exact(2)) {
                    *c += widen(a[1]) * widen(b[1]);
                    *c += widen(a[0]) * widen(b[0]);
                }
            }
        }
    }
}

/// The f32 with the bits of a bfloat16 number.
#[inline(always)]
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// `hi + lo`, with the terms that there is room for, is x: the first is x rounded to bfloat16, ties to even, the
/// second what is left, rounded too.
#[inline(always)]
pub fn split(x: &[f32], hi: &mut [u16], lo: Option<&mut [u16]>) {
    for (hi, x) in hi.iter_mut().zip(x) {
        *hi = round(*x);
    }
    if let Some(lo) = lo {
        for ((lo, hi), x) in lo.iter_mut().zip(hi).zip(x) {
            *lo = round(x - widen(*hi));
        }
    }
}

/// The bfloat16 number nearest to x, of two the even one.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let up = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Rounding must not carry a NaN's mantissa into an infinity.
    if x.is_nan() { 0x7fc0 } else { up as u16 }
}

/// Packs 32 rows of 32 as the squares of [`multiply`] are.
#[inline(always)]
pub fn pack_square(rows: &[u16], square: &mut [u16]) {
    for (half, square) in square.chunks_exact_mut(SQUARE / 2).enumerate() {
        for (to, rows) in square
            .chunks_exact_mut(BLOCK)
            .zip(rows.chunks_exact(2 * BLOCK))
        {
            let (even, odd) = rows.split_at(BLOCK);
            let columns = half * TILE..(half + 1) * TILE;
            for (to, (even, odd)) in to
                .chunks_exact_mut(2)
                .zip(even[columns.clone()].iter().zip(&odd[columns]))
            {
                to[0] = *even;
                to[1] = *odd;
            }
        }
    }
}

/// Turns `len` rows of 32 into 32 rows of `len`.
#[inline(always)]
pub fn transpose(rows: &[u16], len: usize, to: &mut [u16]) {
    let mut done = 0;
    if len >= BLOCK && avx512::available() {
        while done + BLOCK <= len {
            avx512::transpose(&rows[done * BLOCK..], &mut to[done..], len);
            done += BLOCK;
        }
    }
    for (k, row) in rows.chunks_exact(BLOCK).enumerate().take(len).skip(done) {
        for (i, value) in row.iter().enumerate() {
            to[i * len + k] = *value;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{BF16_SQUARE, BLOCK, Pairs, SQUARE};
    use crate::backend::cpu::simd;
    use std::arch::x86_64::*;

    /// Whether there are 16-bit shuffles of AVX-512.
    pub fn available() -> bool {
        simd::name() == "avx512" && is_x86_feature_detected!("avx512bw")
    }

    /// Some of the `left` rows from `first` on; returns how many.
    pub fn multiply(
        pairs: &Pairs,
        stride: usize,
        first: usize,
        left: usize,
        c: &mut [f32],
        accumulate: bool,
    ) -> usize {
        // SAFETY: `precision::Unit` is Amx or Avx512 only where AVX-512 BF16 was found.
        unsafe {
            match left {
                12.. if left != 16 => rows_times::<12>(pairs, stride, first, c, accumulate),
                8.. => rows_times::<8>(pairs, stride, first, c, accumulate),
                4.. => rows_times::<4>(pairs, stride, first, c, accumulate),
                2.. => rows_times::<2>(pairs, stride, first, c, accumulate),
                _ => rows_times::<1>(pairs, stride, first, c, accumulate),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn rows_times<const M: usize>(
        pairs: &Pairs,
        stride: usize,
        first: usize,
        c: &mut [f32],
        accumulate: bool,
    ) -> usize {
        let c = c[first * BLOCK..(first + M) * BLOCK].as_mut_ptr();
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        // SAFETY: c has M rows of 32 numbers; every a and b is as long as asserted.
        unsafe {
            if accumulate {
                for (m, sums) in sums.iter_mut().enumerate() {
                    *sums = [0, 16].map(|j| _mm512_loadu_ps(c.add(m * BLOCK + j)));
                }
            }
            for (a, b) in pairs {
                assert!(a.len() >= (first + M - 1) * stride + BLOCK && b.len() >= BF16_SQUARE);
                let (a, b) = (a.as_ptr().add(first * stride), b.as_ptr());
                for k in (0..BLOCK).step_by(2) {
                    let b = [0, SQUARE / 2].map(|half| pairs_at(b.add(half + k * BLOCK / 2)));
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let a = a.add(m * stride + k).cast::<i32>().read_unaligned();
                        let a = as_bf16(_mm512_set1_epi32(a));
                        sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
                        sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                _mm512_storeu_ps(c.add(m * BLOCK), sums[0]);
                _mm512_storeu_ps(c.add(m * BLOCK + 16), sums[1]);
            }
        }
        M
    }

    #[target_feature(enable = "avx512f")]
    fn as_bf16(bits: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits without a rule.
        unsafe { std::mem::transmute(bits) }
    }

    /// # Safety
    /// 32 elements must be readable.
    #[target_feature(enable = "avx512f")]
    unsafe fn pairs_at(from: *const u16) -> __m512bh {
        // SAFETY: the caller's promise.
        as_bf16(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    /// Turns 32 rows of 32 into 32 rows, `stride` elements apart.
    pub fn transpose(rows: &[u16], to: &mut [u16], stride: usize) {
        assert!(rows.len() >= SQUARE && to.len() >= (BLOCK - 1) * stride + BLOCK);
        // SAFETY: AVX-512 is there, as the caller asked `available`; the lengths are as asserted.
        unsafe { shuffle(rows.as_ptr(), to.as_mut_ptr(), stride) }
    }

    /// Five perfect shuffles of 32 rows: each takes the elements of row i and of row i + 16 in turns.
    ///
    /// # Safety
    /// `rows` must have 1024 elements and `to` 32 rows of 32, `stride` apart.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn shuffle(rows: *const u16, to: *mut u16, stride: usize) {
        let pick = |first: usize| -> [u16; 32] {
            std::array::from_fn(|i| (first + i / 2 + i % 2 * 32) as u16)
        };
        let (low, high) = (pick(0), pick(16));
        // SAFETY: the caller's promise; the picks have 32 elements.
        unsafe {
            let low = _mm512_loadu_si512(low.as_ptr().cast());
            let high = _mm512_loadu_si512(high.as_ptr().cast());
            let mut r: [__m512i; 32] =
                std::array::from_fn(|i| _mm512_loadu_si512(rows.add(i * BLOCK).cast()));
            for _ in 0..5 {
                let from = r;
                for i in 0..16 {
                    r[2 * i] = _mm512_permutex2var_epi16(from[i], low, from[i + 16]);
                    r[2 * i + 1] = _mm512_permutex2var_epi16(from[i], high, from[i + 16]);
                }
            }
            for (i, r) in r.into_iter().enumerate() {
                _mm512_storeu_si512(to.add(i * stride).cast(), r);
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod avx512 {
    use super::Pairs;

    pub fn available() -> bool {
        false
    }

    pub fn multiply(_: &Pairs, _: usize, _: usize, _: usize, _: &mut [f32], _: bool) -> usize {
        unreachable!("there is no AVX-512 here");
    }

    pub fn transpose(_: &[u16], _: &mut [u16], _: usize) {
        unreachable!("there is no AVX-512 here");
    }
}
