//! The gradient of a convolution with respect to its weight, split along the images.
use super::shared::{flops, launch, result};
use super::tile::WORKGROUPS;
use super::{ConvKernel, ConvPass, StemKernel, Tile};
use crate::kernels::CpuContext;
use crate::kernels::conv::{self, Geometry};
use crate::kernels::{Norm, Window};
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// `[x, dy, (norm)] → [partials]` of shape `[splits, k_h·k_w, c_in, c_out]`, where split s covers the
/// images from `s·images_per_split`:
/// `dw[ky,kx,ci,co] = Σ x[n, oy·stride + ky − pad, …, ci] · dy[n,oy,ox,co]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dGradWeight {
    /// The convolution's window.
    pub window: Window,
    /// Dimensions of the convolution's weight.
    pub w: Shape,
    /// Images whose products are summed in one partial gradient.
    pub images_per_split: usize,
    /// What a workgroup of a GPU computes of the weight's rows `k_h·k_w·c_in` × `c_out`.
    pub tile: Tile,
    /// Whether the convolution saw `max(x·scale + shift, 0)`, as in [`super::Conv2d`].
    pub activate: bool,
}

impl Conv2dGradWeight {
    /// Chooses the split so that tiles × splits fill a GPU; it depends on the shapes alone, and so
    /// the order of summation does too.
    pub fn new(window: Window, x: Shape, w: Shape) -> Conv2dGradWeight {
        let tile = Tile::SQUARE;
        Conv2dGradWeight {
            window,
            w,
            images_per_split: images_per_split(window, tile, w, x.n(), WORKGROUPS),
            tile,
            activate: false,
        }
    }
}

/// Images in a split of `n` when there are about so many workgroups.
pub fn images_per_split(
    window: Window,
    tile: Tile,
    w: Shape,
    n: usize,
    workgroups: usize,
) -> usize {
    let splits = (workgroups / tiles(window, tile, w)).clamp(1, n);
    n.div_ceil(splits)
}

impl OpDef for Conv2dGradWeight {
    fn name(&self) -> &'static str {
        "conv2d_grad_weight"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let (x, dy) = if self.activate {
            let [x, dy, norm] = arity(inputs)?;
            Norm::check(norm, x)?;
            (x, dy)
        } else {
            let [x, dy] = arity(inputs)?;
            (x, dy)
        };
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

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, cpu: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, dy] = [inputs[0], inputs[1]];
        let geometry = Geometry {
            x: x.shape(),
            w: self.w,
            y: dy.shape(),
            window: self.window,
            matmul: cpu.matmul,
            batch: self.images_per_split,
        };
        let norm = self.activate.then(|| Norm::of(inputs[2].f32()));
        let (x, dy, partials) = (x.floats(), dy.floats(), outputs[0].f32());
        conv::grad_weight(&geometry, x, norm, dy, self.images_per_split, partials);
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let pass = ConvPass::GradWeight {
            activate: self.activate,
        };
        let shapes = [inputs[0].shape, self.w, inputs[1].shape];
        let groups = outputs[0].shape.n() * tiles(self.window, self.tile, self.w);
        let stored = inputs[0].dtype;
        let shader = if StemKernel::serves(self.window, self.w) {
            Shader::Stem(StemKernel::new(pass, stored, self.window))
        } else {
            Shader::Conv2d(ConvKernel {
                pass,
                stored,
                tile: self.tile,
                vec4: self.w.0[2].is_multiple_of(4) && self.w.c().is_multiple_of(4),
                cooperative: None,
            })
        };
        launch(
            shader,
            pass,
            shapes,
            self.window,
            self.images_per_split,
            groups,
        )
    }

    fn batched(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let images = self.images_per_split;
        let rows = [images, images, 0];
        Batched::images(outputs[0].shape.n(), &rows[..inputs.len()], &[1])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        flops(self.w, inputs[1].shape)
    }
}

/// Workgroups for one weight gradient.
fn tiles(window: Window, tile: Tile, w: Shape) -> usize {
    if StemKernel::serves(window, w) {
        return StemKernel::tiles(w);
    }
    tile.groups(w.rows().div_ceil(tile.rows), w.c())
}
