//! The shapes of a convolution.
use crate::kernels::Window;
use crate::kernels::precision::Matmul;
use crate::tensor::Shape;

/// A convolution of images `x` by a weight `w` to images `y`, and how it is computed.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// `[n, h, w, c_in]`.
    pub x: Shape,
    /// `[k_h, k_w, c_in, c_out]`.
    pub w: Shape,
    /// `[n, h_out, w_out, c_out]`.
    pub y: Shape,
    /// Kernel size, stride and padding.
    pub window: Window,
    /// How products are made.
    pub matmul: Matmul,
    /// Images among which the cost of preparing the weight is shared, or of a partial gradient of it; `x` and `y` may be a
    /// part of the batch. The algorithm follows from this number, so that a part has the bits of the whole.
    pub batch: usize,
}
