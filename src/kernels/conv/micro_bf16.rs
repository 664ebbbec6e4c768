//! The micro-kernel for bfloat16: rows of 32 factors times squares of 32 × 32, added up in f32.
use super::amx::{TILE, Tiles};
use super::avx512;
use super::block::{BLOCK, Bf16Pairs, SQUARE};
use crate::kernels::bf16::{round, widen};
use crate::kernels::precision::Unit;
use crate::kernels::simd::vectorized;

/// A unit that the calling thread may use while this lives.
pub struct Multiplier {
    unit: Unit,
    /// Of Amx alone.
    tiles: Option<Tiles>,
}

impl Unit {
    /// Makes the unit ready on the calling thread.
    pub fn begin(self) -> Multiplier {
        assert!(self.if_there().is_some(), "{self:?} is not there");
        Multiplier {
            unit: self,
            tiles: (self == Unit::Amx).then(Tiles::configure),
        }
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

impl Multiplier {
    /// `c[m][j] = Σ a[m·stride + k]·b[k][j]` over the pairs (a, b) and k, for `rows` rows of 32; or `+=`.
    pub fn multiply(
        &self,
        pairs: &Bf16Pairs,
        stride: usize,
        rows: usize,
        c: &mut [f32],
        accumulate: bool,
    ) {
        let mut first = 0;
        while first < rows {
            let left = rows - first;
            first += match (self.unit, &self.tiles) {
                (_, Some(tiles)) if left >= 2 * TILE => {
                    tiles.multiply_rows::<true>(pairs, stride, first, c, accumulate);
                    2 * TILE
                }
                (_, Some(tiles)) if left >= TILE => {
                    tiles.multiply_rows::<false>(pairs, stride, first, c, accumulate);
                    TILE
                }
                (Unit::Amx | Unit::Avx512, _) => {
                    avx512::multiply(pairs, stride, first, left, c, accumulate)
                }
                (Unit::Scalar, _) => {
                    vectorized(
                        #[inline(always)]
                        || row_times(pairs, first * stride, &mut c[first * BLOCK..], accumulate),
                    );
                    1
                }
            };
        }
    }
}

/// One row of [`Multiplier::multiply`], which begins at element `at` of every a.
#[inline(always)]
fn row_times(pairs: &Bf16Pairs, at: usize, c: &mut [f32], accumulate: bool) {
    let c = &mut c[..BLOCK];
    if !accumulate {
        c.fill(0.0);
    }
    for (a, b) in pairs {
        let a = &a[at..at + BLOCK];
        for (half, b) in b[..SQUARE].chunks_exact(SQUARE / 2).enumerate() {
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

/// Packs 32 rows of 32 as the squares of [`Multiplier::multiply`] are.
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
