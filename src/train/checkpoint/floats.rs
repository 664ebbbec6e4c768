//! Values of a file of weights as f32, whichever floats it stores.
use half::{bf16, f16};
use safetensors::Dtype;

/// Values from little-endian floats of this type; `None` where it is none that weights are stored as. What is stored in
/// more digits is rounded.
pub fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        _ => return None,
    })
}

fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|bytes| value(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_floats_become_f32() {
        let values = [1.5f32, -0.25, 65504.0, f32::INFINITY];
        let same = |dtype, bytes: Vec<u8>| assert_eq!(to_f32(dtype, &bytes).unwrap(), values);
        same(
            Dtype::F32,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        );
        same(
            Dtype::F16,
            values
                .iter()
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
        );
        same(
            Dtype::F64,
            values
                .iter()
                .flat_map(|v| f64::from(*v).to_le_bytes())
                .collect(),
        );
        let bytes = bf16::from_f32(-1.5).to_le_bytes();
        assert_eq!(to_f32(Dtype::BF16, &bytes).unwrap(), [-1.5]);
        assert_eq!(to_f32(Dtype::I64, &[0; 8]), None);
    }
}
