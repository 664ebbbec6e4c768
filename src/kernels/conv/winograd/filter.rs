//! The transforms of Winograd's minimal filtering in one dimension, F(2, 3) and F(3, 3): 2 or 3 outputs of a filter of 3
//! taps by `P` = 4 or 5 products, `y = Aᵀ·(G·w ⊙ Bᵀ·d)`. They interpolate at the points 0, 1, −1, (2,) ∞. The formulas
//! stand one by one because only straight code stays in registers.
use fearless_simd::prelude::*;

/// `Bᵀ·d` in place.
#[inline(always)]
pub fn input<S: Simd, const P: usize>(s: S, d: &mut [S::f32s; P]) {
    let [a, b, c, e] = [d[0], d[1], d[2], d[3]];
    if P == 4 {
        d[0] = a - c;
        d[1] = b + c;
        d[2] = c - b;
        d[3] = b - e;
    } else {
        let two = S::f32s::splat(s, 2.0);
        let outer = e - b;
        d[0] = (a - c).mul_add(two, outer);
        d[1] = b.mul_add(two, c - e);
        d[2] = b.mul_add(two, c.mul_add(S::f32s::splat(s, -3.0), e));
        d[3] = outer;
        d[4] = outer.mul_add(S::f32s::splat(s, -2.0), d[4] - c);
    }
}

/// `Aᵀ·m` in place, in the first `P` − 2 places.
#[inline(always)]
pub fn output<S: Simd, const P: usize>(s: S, m: &mut [S::f32s; P]) {
    let [a, b, c, e] = [m[0], m[1], m[2], m[3]];
    let both = b + c;
    if P == 4 {
        m[0] = a + both;
        m[1] = b - c - e;
    } else {
        m[0] = a + both + e;
        m[1] = e.mul_add(S::f32s::splat(s, 2.0), b - c);
        m[2] = e.mul_add(S::f32s::splat(s, 4.0), both + m[4]);
    }
}

/// `A·dy` in place, of the first `P` − 2 places: the adjoint of [`output`].
#[inline(always)]
pub fn gradient<S: Simd, const P: usize>(s: S, dy: &mut [S::f32s; P]) {
    let [a, b, c] = [dy[0], dy[1], dy[2]];
    if P == 4 {
        dy[1] = a + b;
        dy[2] = a - b;
        dy[3] = S::f32s::splat(s, 0.0) - b;
    } else {
        let even = a + c;
        dy[1] = even + b;
        dy[2] = even - b;
        dy[3] = c.mul_add(S::f32s::splat(s, 4.0), b.mul_add(S::f32s::splat(s, 2.0), a));
        dy[4] = c;
    }
}

/// `G·w` in place, of the first 3 places.
#[inline(always)]
pub fn taps<S: Simd, const P: usize>(s: S, w: &mut [S::f32s; P]) {
    let [a, b, c] = [w[0], w[1], w[2]];
    let half = S::f32s::splat(s, 0.5);
    w[1] = (a + c + b) * half;
    if P == 4 {
        w[2] = (a + c - b) * half;
        w[3] = c;
    } else {
        let sixth = S::f32s::splat(s, 1.0 / 6.0);
        w[0] = a * half;
        w[2] = (b - a - c) * sixth;
        let far = c.mul_add(S::f32s::splat(s, 4.0), a);
        w[3] = b.mul_add(S::f32s::splat(s, 2.0), far) * sixth;
        w[4] = c;
    }
}

/// `Gᵀ·du` in place, in the first 3 places: the adjoint of [`taps`].
#[inline(always)]
pub fn sums<S: Simd, const P: usize>(s: S, du: &mut [S::f32s; P]) {
    let [a, b, c, e] = [du[0], du[1], du[2], du[3]];
    let half = S::f32s::splat(s, 0.5);
    if P == 4 {
        let even = (b + c) * half;
        du[0] = a + even;
        du[1] = (b - c) * half;
        du[2] = even + e;
    } else {
        let sixth = S::f32s::splat(s, 1.0 / 6.0);
        let (c, e) = (c * sixth, e * sixth);
        let even = b.mul_add(half, S::f32s::splat(s, 0.0) - c);
        du[0] = a.mul_add(half, even + e);
        du[1] = e.mul_add(S::f32s::splat(s, 2.0), b.mul_add(half, c));
        du[2] = e.mul_add(S::f32s::splat(s, 4.0), even) + du[4];
    }
}
