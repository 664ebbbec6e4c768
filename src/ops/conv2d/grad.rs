//! The gradients of a convolution with respect to its image and its weight.
use super::{TILE, WORKGROUPS, cpu, flops, launch, patches::Patches, result};
use crate::graph::{Shape, TensorDesc};
use crate::ops::{Batched, ConvPass, Launch, OpDef, View, ViewMut, Window, arity};
use anyhow::{Result, ensure};

/// `[dy, w] → [dx]`: `dx[n,iy,ix,ci] = Σ dy[n,oy,ox,co] · w[ky,kx,ci,co]` over the `co` and over the
/// taps that looked at the pixel, `oy·stride + ky − pad = iy` and likewise in x.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dGradInput {
    /// The convolution's window.
    pub window: Window,
    /// Dimensions of the convolution's image.
    pub x: Shape,
}

/// `[x, dy] → [partials]` of shape `[splits, k_h·k_w, c_in, c_out]`, where split s covers the images
/// from `s·images_per_split`: `dw[ky,kx,ci,co] = Σ x[n, oy·stride + ky − pad, …, ci] · dy[n,oy,ox,co]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dGradWeight {
    /// The convolution's window.
    pub window: Window,
    /// Dimensions of the convolution's weight.
    pub w: Shape,
    /// Images whose products are summed in one partial gradient.
    pub images_per_split: usize,
}

impl Conv2dGradWeight {
    /// Chooses the split so that tiles × splits fill a GPU; it depends on the shapes alone, and so
    /// the order of summation does too.
    pub fn new(window: Window, x: Shape, w: Shape) -> Conv2dGradWeight {
        let splits = (WORKGROUPS / tiles(w)).clamp(1, x.n());
        Conv2dGradWeight {
            window,
            w,
            images_per_split: x.n().div_ceil(splits),
        }
    }
}

impl OpDef for Conv2dGradInput {
    fn name(&self) -> &'static str {
        "conv2d_grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [dy, w] = arity(inputs)?;
        let dx = TensorDesc::f32(self.x);
        let y = result(dx, w, self.window)?;
        ensure!(dy == y, "gradient {dy} is not of the output {y}");
        Ok(vec![dx])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (dy, w) = (inputs[0], inputs[1]);
        let x = outputs[0].shape();
        let dx = outputs[0].f32();
        cpu::grad_input(
            dy.f32(),
            w.f32(),
            dx,
            [x, w.shape(), dy.shape()],
            self.window,
        );
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let (dy, w, x) = (inputs[0].shape, inputs[1].shape, outputs[0].shape);
        let stride = self.window.stride;
        let [n, height, width, c_in] = x.0;
        // Input pixels with the same remainders by the stride see the same taps and share tiles.
        let rows = n * height.div_ceil(stride) * width.div_ceil(stride);
        let tiles = stride * stride * rows.div_ceil(TILE) * c_in.div_ceil(TILE);
        let shapes = [x, w, dy];
        launch(ConvPass::GradInput, shapes, self.window, 0, tiles)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 0], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        flops(inputs[1].shape, inputs[0].shape)
    }
}

impl OpDef for Conv2dGradWeight {
    fn name(&self) -> &'static str {
        "conv2d_grad_weight"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x, dy] = arity(inputs)?;
        let y = result(x, TensorDesc::f32(self.w), self.window)?;
        ensure!(dy == y, "gradient {dy} is not of the output {y}");
        let splits = x.shape.n().div_ceil(self.images_per_split);
        let [k_h, k_w, c_in, c_out] = self.w.0;
        Ok(vec![TensorDesc::f32(Shape([
            splits,
            k_h * k_w,
            c_in,
            c_out,
        ]))])
    }

    fn run_cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, dy) = (inputs[0], inputs[1]);
        let patches = Patches::of_windows(x.shape(), dy.shape(), self.window);
        let partials = outputs[0].f32();
        cpu::grad_weight(&patches, x.f32(), dy.f32(), partials, self.images_per_split);
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let shapes = [inputs[0].shape, self.w, inputs[1].shape];
        let groups = outputs[0].shape.n() * tiles(self.w);
        launch(
            ConvPass::GradWeight,
            shapes,
            self.window,
            self.images_per_split,
            groups,
        )
    }

    fn batched(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let images = self.images_per_split;
        Batched::images(outputs[0].shape.n(), &[images, images], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        flops(self.w, inputs[1].shape)
    }
}

/// Workgroups for one weight gradient.
fn tiles(w: Shape) -> usize {
    w.rows().div_ceil(TILE) * w.c().div_ceil(TILE)
}
