//! 2-d convolution: `y[n,oy,ox,co] = b[co] + Σ x[n, oy·stride + ky − pad, ox·stride + kx − pad, ci] · w[ky,kx,ci,co]`
//! over `ky, kx, ci`, where x outside the image is zero. Its gradients are in `grad.rs`.
mod bias;
mod cpu;
mod grad;
mod patches;

pub use bias::Conv2dGradBias;
pub use grad::{Conv2dGradInput, Conv2dGradWeight};

use super::{Batched, ConvPass, Launch, OpDef, Shader, SumPartials, View, ViewMut, Window, arity};
use crate::graph::{DType, Graph, Node, Shape, TensorDesc, TensorId};
use anyhow::{Result, ensure};
use patches::Patches;

/// Rows and columns of the result that one workgroup computes.
const TILE: usize = 64;
/// Workgroups that keep a large GPU busy.
const WORKGROUPS: usize = 256;

/// `[x, w] → [y]`, or `[x, w, b] → [y]` with a bias.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2d {
    /// Kernel size, stride and padding.
    pub window: Window,
    /// Whether a bias per output channel is added.
    pub bias: bool,
}

impl Graph {
    /// The convolution of images `[n, h, w, c_in]` with a weight `[k_h, k_w, c_in, c_out]`, plus a
    /// bias `[1, 1, 1, c_out]` if there is one.
    ///
    /// # Errors
    /// When the shapes do not fit each other or the window does not fit into the padded image.
    pub fn conv2d(
        &mut self,
        x: TensorId,
        w: TensorId,
        b: Option<TensorId>,
        window: Window,
    ) -> Result<TensorId> {
        let bias = b.is_some();
        let inputs: Vec<TensorId> = [x, w].into_iter().chain(b).collect();
        self.push1(Conv2d { window, bias }, &inputs)
    }
}

impl OpDef for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let (x, w) = if self.bias {
            let [x, w, b] = arity(inputs)?;
            let want = TensorDesc::f32(Shape::channels(w.shape.c()));
            ensure!(b == want, "the bias is {b}, but {want} is needed");
            (x, w)
        } else {
            let [x, w] = arity(inputs)?;
            (x, w)
        };
        Ok(vec![result(x, w, self.window)?])
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; node.inputs.len()]);
        };
        let window = self.window;
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let (x_shape, w_shape) = (g.shape(x), g.shape(w));
        let grad_input = Conv2dGradInput { window, x: x_shape };
        let dx = g.push1(grad_input, &[dy, w])?;
        let grad_weight = Conv2dGradWeight::new(window, x_shape, w_shape);
        let partials = g.push1(grad_weight, &[x, dy])?;
        let dw = g.push1(SumPartials { shape: w_shape }, &[partials])?;
        let mut grads = vec![Some(dx), Some(dw)];
        if self.bias {
            let partials = g.push1(Conv2dGradBias::new(x_shape.n()), &[dy])?;
            let shape = Shape::channels(w_shape.c());
            grads.push(Some(g.push1(SumPartials { shape }, &[partials])?));
        }
        Ok(grads)
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, w) = (inputs[0], inputs[1]);
        let b = self.bias.then(|| inputs[2].f32());
        let patches = Patches::of_windows(x.shape(), outputs[0].shape(), self.window);
        cpu::forward(&patches, x.f32(), w.f32(), b, outputs[0].f32());
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let (x, w, y) = (inputs[0].shape, inputs[1].shape, outputs[0].shape);
        let pass = if self.bias {
            ConvPass::ForwardBias
        } else {
            ConvPass::Forward
        };
        let tiles = y.rows().div_ceil(TILE) * y.c().div_ceil(TILE);
        launch(pass, [x, w, y], self.window, 0, tiles)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let rows = [1, 0, 0];
        Batched::images(inputs[0].shape.n(), &rows[..inputs.len()], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        flops(inputs[1].shape, outputs[0].shape)
    }
}

/// Description of the convolution's result.
fn result(x: TensorDesc, w: TensorDesc, window: Window) -> Result<TensorDesc> {
    ensure!(
        x.dtype == DType::F32 && w.dtype == DType::F32,
        "image {x} and weight {w} must be f32"
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
    Ok(TensorDesc::f32(shape))
}

/// Two operations per multiply-add of a pass over output pixels `y`, those with padding included.
fn flops(w: Shape, y: Shape) -> u64 {
    2 * y.rows() as u64 * w.len() as u64
}

/// A dispatch of the generated kernel; x, w and y in `shapes`.
fn launch(
    pass: ConvPass,
    shapes: [Shape; 3],
    window: Window,
    images_per_split: usize,
    tiles: usize,
) -> Launch {
    let [x, w, y] = shapes;
    let [n, height, width, c_in] = x.0;
    let [_, h_out, w_out, c_out] = y.0;
    let vec4 = c_in % 4 == 0 && c_out % 4 == 0;
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
        images_per_split,
    ];
    let params = params.map(|p| u32::try_from(p).expect("sizes below 2^32"));
    let shader = Shader::Conv2d { pass, vec4 };
    Launch::new(shader, pass.entry(), params.to_vec(), tiles)
}
