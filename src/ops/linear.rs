//! The fully connected layer: a 1×1 convolution of a 1×1 image, on the same kernels.
use crate::graph::{Graph, TensorId};
use crate::kernels::Window;
use anyhow::{Result, ensure};

impl Graph {
    /// `y = x·w + b` for features x `[n, 1, 1, c_in]`, a weight `[1, 1, c_in, c_out]` and a bias
    /// `[1, 1, 1, c_out]`; `[n, 1, 1, c_out]`.
    ///
    /// # Errors
    /// When the shapes do not fit each other, or x has more than one pixel.
    pub fn linear(&mut self, x: TensorId, w: TensorId, b: TensorId) -> Result<TensorId> {
        let [_, height, width, _] = self.shape(x).0;
        ensure!(
            [height, width] == [1, 1],
            "linear: {} has {height}×{width} pixels; pool them into one first",
            self.desc(x)
        );
        let window = Window {
            kernel: 1,
            stride: 1,
            pad: 0,
        };
        self.conv2d(x, w, Some(b), window)
    }
}
