//! The WGSL in which images and their gradients are stored.
use crate::tensor::DType;

/// WGSL of `Stored`, an element of images and their gradients in memory or four with `vec4`, and of `to_stored`, which
/// makes it of f32.
///
/// A conversion to f16 may round in any direction in WGSL, and is rounded towards zero by Direct3D: what is too large
/// might become the largest f16 and an overflow go unseen. So it is infinite before, from 65,520 on, where rounding to
/// the nearest leaves the finite numbers.
pub fn stored(dtype: DType, vec4: bool) -> String {
    let of = |element: &str| match vec4 {
        true => format!("vec4<{element}>"),
        false => element.to_string(),
    };
    let (stored, float, bits) = (of(&dtype.to_string()), of("f32"), of("u32"));
    let finite = match dtype {
        DType::F16 => format!(
            "    let bits = bitcast<{bits}>(x);
    let infinite = (bits & {bits}(0x80000000u)) | {bits}(0x7f800000u);
    return Stored(bitcast<{float}>(select(bits, infinite, abs(x) >= {float}(65520.0))));"
        ),
        _ => "    return x;".to_string(),
    };
    format!(
        "/// What images and their gradients are stored as.
alias Stored = {stored};

/// From what is computed; infinite where it is too large.
fn to_stored(x: {float}) -> Stored {{
{finite}
}}
"
    )
}
