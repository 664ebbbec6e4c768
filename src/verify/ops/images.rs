//! Which ops work on images, and how given images are stored for them.
use crate::tensor::DType;
use crate::verify::replay::bytes;
use half::{bf16, f16};

/// What becomes of the given images and their gradients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ImageStorage {
    /// They stay as they are, in f32.
    Given,
    /// They are rounded to f16 or bfloat16, and stay in f32.
    Rounded(DType),
    /// They are stored as f16 or bfloat16, as is what is made of them.
    Stored(DType),
}

impl ImageStorage {
    /// The element type, and the bytes of some values.
    pub fn store(self, values: &[f32]) -> (DType, Vec<u8>) {
        let round = |dtype: DType, v: f32| match dtype {
            DType::Bf16 => (bf16::from_f32(v).to_bits(), bf16::from_f32(v).to_f32()),
            _ => (f16::from_f32(v).to_bits(), f16::from_f32(v).to_f32()),
        };
        match self {
            ImageStorage::Given => (DType::F32, bytes(values)),
            ImageStorage::Rounded(dtype) => {
                let values: Vec<f32> = values.iter().map(|&v| round(dtype, v).1).collect();
                (DType::F32, bytes(&values))
            }
            ImageStorage::Stored(dtype) => {
                let bits: Vec<u16> = values.iter().map(|&v| round(dtype, v).0).collect();
                (dtype, bytes(&bits))
            }
        }
    }
}

/// Whether an op works on images: what follows the last of them in a network is f32 always.
pub fn has_images(op: &str) -> bool {
    gives_images(op) || op == "global_avg_pool"
}

/// Whether what an op makes of images are images.
pub fn gives_images(op: &str) -> bool {
    ["conv2d", "batch_norm", "relu", "max_pool"].contains(&op)
}
