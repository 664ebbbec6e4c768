//! bfloat16, the upper half of an f32: the same exponent and 8 digits. It is widened by a shift, and f32 is rounded to
//! the nearest by plain integers, so that all processors make the same bits, of numbers near zero too.

/// The f32 with the bits of a bfloat16 number.
#[inline(always)]
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bfloat16 number nearest to x, of two the even one; infinite from the middle between the largest one and what
/// would follow it on.
#[inline(always)]
pub fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let up = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Rounding must not carry a NaN's mantissa into an infinity.
    if x.is_nan() { 0x7fc0 } else { up as u16 }
}

/// Widens every number.
#[inline(always)]
pub fn widen_all(from: &[u16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "as many as there is room for");
    for (to, from) in to.iter_mut().zip(from) {
        *to = widen(*from);
    }
}

/// Rounds every number.
#[inline(always)]
pub fn round_all(from: &[f32], to: &mut [u16]) {
    assert_eq!(from.len(), to.len(), "as many as there is room for");
    for (to, from) in to.iter_mut().zip(from) {
        *to = round(*from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for bits in 0..=u16::MAX {
            let wide = widen(bits);
            match wide.is_nan() {
                true => assert!(widen(round(wide)).is_nan(), "{bits:#x}"),
                false => assert_eq!(round(wide), bits),
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_the_even_of_two() {
        // 1 is 0x3f80, and the next number is 2⁻⁷ more.
        let step = 2.0_f32.powi(-7);
        for (x, want) in [
            (1.0 + 0.49 * step, 0x3f80),
            (1.0 + 0.5 * step, 0x3f80),
            (1.0 + 0.51 * step, 0x3f81),
            (1.0 + 1.49 * step, 0x3f81),
            (1.0 + 1.5 * step, 0x3f82),
            (1.0 + 2.5 * step, 0x3f82),
            // A carry into the exponent.
            (2.0 - 0.25 * step, 0x4000),
        ] {
            assert_eq!(round(x), want, "{x}");
            assert_eq!(round(-x), want | 0x8000, "{x}");
        }
        // Below the smallest normal number the steps stay as wide as there.
        let least = f32::from_bits(0x0001_0000);
        assert_eq!([0.5, 0.51, 1.5].map(|part| round(part * least)), [0, 1, 2]);
        assert_eq!([round(0.0), round(-0.0)], [0, 0x8000]);
    }

    #[test]
    fn what_is_too_large_or_no_number_stays_so() {
        assert_eq!(round(f32::INFINITY), 0x7f80);
        assert_eq!(round(f32::NEG_INFINITY), 0xff80);
        assert_eq!(round(f32::MAX), 0x7f80);
        assert_eq!(round(f32::from_bits(0x7f7f_7fff)), 0x7f7f);
        assert_eq!(round(f32::from_bits(0x7f7f_8000)), 0x7f80);
        for bits in [0x7f80_0001_u32, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff] {
            assert!(widen(round(f32::from_bits(bits))).is_nan(), "{bits:#x}");
        }
    }

    #[test]
    fn it_is_the_rounding_of_the_crate_half() {
        // Every mantissa's upper bits, and lower bits around the middle, at some exponents of both signs.
        for upper in (0..=u32::from(u16::MAX)).step_by(7) {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(upper << 16 | lower);
                if !x.is_nan() {
                    assert_eq!(round(x), half::bf16::from_f32(x).to_bits(), "{x:e}");
                }
            }
        }
    }
}
