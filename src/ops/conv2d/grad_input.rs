//! The gradient of a convolution with respect to its image, with what follows it on the way back:
//! the sum with a skip connection's gradient, ReLU's mask, and the sums that BatchNorm's gradient needs.
use super::blocks::Blocks;
use super::shared::{flops, launch, result};
use super::{ConvKernel, ConvPass, Mask, Tile};
use crate::kernels::CpuContext;
use crate::kernels::conv::{self, Epilogue, Geometry, Partials};
use crate::kernels::{Norm, Window};
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// `[dy, w, (skip), (pre, norm), (out)] → [dx, (partials)]`:
/// `v[n,iy,ix,ci] = Σ dy[n,oy,ox,co] · w[ky,kx,ci,co]` over the `co` and over the taps that looked at
/// the pixel, `oy·stride + ky − pad = iy` and likewise in x; plus `skip`; dx is v where the mask keeps it.
///
/// With a mask the image was made from `pre` by BatchNorm, whose `norm` is `[1, 1, 4, c_in]`, and
/// partials `[blocks, 1, 2, c_in]` hold `Σ dx` and `Σ dx·x̂` of blocks of pixels, x̂ = (pre − mean)·rstd.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dGradInput {
    /// The convolution's window.
    pub window: Window,
    /// Dimensions of the convolution's image.
    pub x: Shape,
    /// Whether a gradient `skip` of the image's shape is added.
    pub add: bool,
    /// Which pixels the image's ReLU let through.
    pub mask: Mask,
    /// What a workgroup of a GPU computes of the pixels of one class × channels. A block has its rows.
    pub tile: Tile,
}

impl Conv2dGradInput {
    /// The gradient alone.
    pub fn new(window: Window, x: Shape) -> Conv2dGradInput {
        Conv2dGradInput {
            window,
            x,
            add: false,
            mask: Mask::None,
            tile: Tile::of(x.rows(), x.c()),
        }
    }

    /// Number of inputs.
    fn arity(&self) -> usize {
        2 + usize::from(self.add) + self.mask.inputs()
    }

    /// Where `pre` stands among the inputs, with a mask; `norm` and `out` follow it.
    fn pre(&self) -> usize {
        2 + usize::from(self.add)
    }

    /// Classes of pixels by their remainders by the stride; pixels of a class saw the same taps.
    fn classes(&self) -> usize {
        self.window.stride * self.window.stride
    }

    /// The cut of one class of the image's pixels.
    fn blocks(&self) -> Blocks {
        let [_, height, width, _] = self.x.0;
        let stride = self.window.stride;
        Blocks::new(
            height.div_ceil(stride) * width.div_ceil(stride),
            self.tile.rows,
        )
    }
}

impl OpDef for Conv2dGradInput {
    fn name(&self) -> &'static str {
        "conv2d_grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        ensure!(
            inputs.len() == self.arity(),
            "takes {} inputs, not {}",
            self.arity(),
            inputs.len()
        );
        let (dy, w) = (inputs[0], inputs[1]);
        let dx = dy.with_shape(self.x);
        let y = result(dx, w, self.window)?;
        ensure!(dy == y, "gradient {dy} is not of the output {y}");
        if self.add {
            ensure!(inputs[2] == dx, "skip {} is not like {dx}", inputs[2]);
        }
        if self.mask == Mask::None {
            return Ok(vec![dx]);
        }
        let pre = self.pre();
        ensure!(inputs[pre] == dx, "pre {} is not like {dx}", inputs[pre]);
        Norm::check(inputs[pre + 1], dx)?;
        if self.mask == Mask::Output {
            let out = inputs[pre + 2];
            ensure!(out == dx, "output {out} is not like {dx}");
        }
        let blocks = self.classes() * self.blocks().count(self.x.n());
        let partials = Shape([blocks, 1, 2, self.x.c()]);
        Ok(vec![dx, TensorDesc::f32(partials)])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, cpu: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let [dy, w] = [inputs[0], inputs[1]];
        let geometry = Geometry {
            x: self.x,
            w: w.shape(),
            y: dy.shape(),
            window: self.window,
            matmul: cpu.matmul,
            batch: self.x.n(),
        };
        let masking = inputs.get(self.pre()..).unwrap_or_default();
        let epilogue = Epilogue {
            bias: None,
            skip: self.add.then(|| inputs[2].floats()),
            mask: (self.mask != Mask::None).then(|| conv::MaskInputs {
                pre: masking[0].floats(),
                norm: Norm::of(masking[1].f32()),
                out: masking.get(2).map(View::floats),
            }),
        };
        let (dx, rest) = outputs.split_first_mut().expect("dx");
        let partials = rest.first_mut().map(|partials| Partials {
            data: partials.f32(),
            images_per_unit: self.blocks().images_per_unit,
            blocks_per_unit: self.classes() * self.blocks().per_unit(),
        });
        let (dy, dx) = (dy.floats(), dx.floats());
        conv::grad_input(&geometry, dy, w.f32(), &epilogue, partials, dx);
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let (dy, w, x) = (inputs[0].shape, inputs[1].shape, outputs[0].shape);
        let pass = ConvPass::GradInput {
            add: self.add,
            mask: self.mask,
        };
        let row_tiles = self.classes() * self.blocks().count(x.n());
        let groups = self.tile.groups(row_tiles, x.c());
        let images = self.blocks().images_per_unit;
        let kernel = ConvKernel {
            pass,
            stored: inputs[0].dtype,
            tile: self.tile,
            vec4: x.c().is_multiple_of(4) && dy.c().is_multiple_of(16),
            cooperative: None,
        };
        launch(
            Shader::Conv2d(kernel),
            pass,
            [x, w, dy],
            self.window,
            images,
            groups,
        )
    }

    fn batched(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let blocks = self.blocks();
        let images = blocks.images_per_unit;
        let mut rows = vec![images; inputs.len()];
        rows[1] = 0;
        if self.mask != Mask::None {
            rows[self.pre() + 1] = 0;
        }
        let made = [images, self.classes() * blocks.per_unit()];
        let units = blocks.units(inputs[0].shape.n());
        Batched::images(units, &rows, &made[..outputs.len()])
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        flops(inputs[1].shape, inputs[0].shape)
    }
}
