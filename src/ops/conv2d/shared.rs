//! What a convolution and its gradients share: the shape of the result, the cost, and the dispatch of a kernel.
use super::ConvPass;
use crate::kernels::Window;
use crate::ops::shader::word;
use crate::ops::{Launch, Shader};
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Result, ensure};

/// Description of the convolution's result, which is stored as the image is.
pub fn result(x: TensorDesc, w: TensorDesc, window: Window) -> Result<TensorDesc> {
    ensure!(
        x.dtype.is_float() && w.dtype == DType::F32,
        "image {x} must be f32, f16 or bf16 and weight {w} f32"
    );
    let [n, height, width, c] = x.shape.0;
    let [k_h, k_w, c_in, c_out] = w.shape.0;
    ensure!(
        [k_h, k_w] == [window.kernel; 2],
        "weight {w} is not for a window of {}",
        window.kernel
    );
    ensure!(
        c == c_in,
        "image {x} has {c} channels, but weight {w} takes {c_in}"
    );
    let shape = Shape([n, window.out(height)?, window.out(width)?, c_out]);
    Ok(x.with_shape(shape))
}

/// Two operations per multiply-add of a pass over output pixels `y`, those with padding included.
pub fn flops(w: Shape, y: Shape) -> u64 {
    2 * y.rows() as u64 * w.len() as u64
}

/// A dispatch of a generated kernel; x, w and y in `shapes`. `images` are those of a unit of the
/// rows, or of a split of the weight's gradient.
pub fn launch(
    shader: Shader,
    pass: ConvPass,
    shapes: [Shape; 3],
    window: Window,
    images: usize,
    groups: usize,
) -> Launch {
    let [x, w, y] = shapes;
    let [n, height, width, c_in] = x.0;
    let [_, h_out, w_out, c_out] = y.0;
    let params = [
        n,
        height,
        width,
        c_in,
        h_out,
        w_out,
        c_out,
        w.0[0],
        w.0[1],
        window.stride,
        window.pad,
        images,
    ];
    let params = params.map(word);
    Launch::new(shader, pass.entry(), params.to_vec(), groups)
}
