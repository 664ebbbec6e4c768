//! Shapes, element types and the descriptions of tensors. No bytes live here.
use std::fmt;

/// Dense dimensions `[n, h, w, c]`, channels innermost; lower ranks are padded with ones.
///
/// A convolution's weight uses the same four numbers as `[k_h, k_w, c_in, c_out]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape(pub [usize; 4]);

impl Shape {
    /// `c` numbers, one per channel: `[1, 1, 1, c]`.
    pub const fn channels(c: usize) -> Shape {
        Shape([1, 1, 1, c])
    }

    /// `n` numbers, one per example: `[n, 1, 1, 1]`.
    pub const fn examples(n: usize) -> Shape {
        Shape([n, 1, 1, 1])
    }

    /// Number of elements; `usize::MAX` where there are more.
    pub fn len(self) -> usize {
        let product = |product: usize, &side| product.saturating_mul(side);
        self.0.iter().fold(1, product)
    }

    /// Whether there is no element at all.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The leading dimension, along which dispatches are cut.
    pub fn n(self) -> usize {
        self.0[0]
    }

    /// The innermost dimension.
    pub fn c(self) -> usize {
        self.0[3]
    }

    /// Number of rows of `c` elements: `n·h·w`; `usize::MAX` where there are more.
    pub fn rows(self) -> usize {
        self.0[0]
            .saturating_mul(self.0[1])
            .saturating_mul(self.0[2])
    }

    /// The same shape with another leading dimension.
    pub fn with_n(self, n: usize) -> Shape {
        let [_, h, w, c] = self.0;
        Shape([n, h, w, c])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [n, h, w, c] = self.0;
        write!(f, "{n}×{h}×{w}×{c}")
    }
}

/// What an element is. Arithmetic is always done in f32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision, in which images and their gradients may be stored.
    F16,
    /// The upper half of single precision, bfloat16, in which the CPU may store images and their gradients.
    Bf16,
    /// Grey levels of images.
    U8,
    /// Labels, indices and counters.
    U32,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::U8 => 1,
        }
    }

    /// Whether elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::Bf16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::U8 => "u8",
            DType::U32 => "u32",
        })
    }
}

/// Everything about a tensor but its bytes and its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TensorDesc {
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl TensorDesc {
    /// A single-precision tensor.
    pub const fn f32(shape: Shape) -> TensorDesc {
        TensorDesc {
            shape,
            dtype: DType::F32,
        }
    }

    /// A tensor of labels, indices or counters.
    pub const fn u32(shape: Shape) -> TensorDesc {
        TensorDesc {
            shape,
            dtype: DType::U32,
        }
    }

    /// A tensor of grey levels.
    pub const fn u8(shape: Shape) -> TensorDesc {
        TensorDesc {
            shape,
            dtype: DType::U8,
        }
    }

    /// Size in bytes; `usize::MAX` where there are more.
    pub fn bytes(self) -> usize {
        self.shape.len().saturating_mul(self.dtype.size())
    }

    /// A tensor of these elements with other dimensions.
    pub fn with_shape(self, shape: Shape) -> TensorDesc {
        TensorDesc { shape, ..self }
    }

    /// The same tensor with another leading dimension.
    pub fn with_n(self, n: usize) -> TensorDesc {
        self.with_shape(self.shape.with_n(n))
    }
}

impl fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype, self.shape)
    }
}
