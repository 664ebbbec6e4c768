//! AVX-512's part in products of bfloat16 numbers: dot products of pairs, and 16-bit shuffles.
pub use imp::{available, multiply, transpose};

#[cfg(target_arch = "x86_64")]
mod imp {
    use crate::kernels::conv::block::Bf16Pairs;
    use crate::kernels::conv::block::{BLOCK, SQUARE};
    use crate::kernels::simd;
    use std::arch::x86_64::*;

    /// Whether there are 16-bit shuffles of AVX-512.
    pub fn available() -> bool {
        simd::name() == "avx512" && is_x86_feature_detected!("avx512bw")
    }

    /// Some of the `left` rows from `first` on; returns how many.
    pub fn multiply(
        pairs: &Bf16Pairs,
        stride: usize,
        first: usize,
        left: usize,
        c: &mut [f32],
        accumulate: bool,
    ) -> usize {
        // SAFETY: a `Multiplier` is of Amx or Avx512 only where AVX-512 BF16 was found.
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
        pairs: &Bf16Pairs,
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
                assert!(a.len() >= (first + M - 1) * stride + BLOCK && b.len() >= SQUARE);
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
mod imp {
    use crate::kernels::conv::block::Bf16Pairs;

    pub fn available() -> bool {
        false
    }

    pub fn multiply(_: &Bf16Pairs, _: usize, _: usize, _: usize, _: &mut [f32], _: bool) -> usize {
        unreachable!("there is no AVX-512 here");
    }

    pub fn transpose(_: &[u16], _: &mut [u16], _: usize) {
        unreachable!("there is no AVX-512 here");
    }
}
