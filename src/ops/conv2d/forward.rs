//! The convolution itself, with what is fused into it: what BatchNorm and ReLU make of its image, and the moments of
//! its result.
use super::blocks::Blocks;
use super::shared::{flops, launch, result};
use super::{
    Conv2dGradBias, Conv2dGradInput, Conv2dGradWeight, ConvKernel, ConvPass, StemKernel, Tile,
};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::kernels::conv::{self, Epilogue, Geometry, Partials};
use crate::kernels::{MOMENTS, Norm, Window};
use crate::ops::{Batched, Launch, OpDef, Shader, SumPartials, View, ViewMut};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, bail, ensure};

/// `[x, w, (b), (norm)] → [y, (partials)]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2d {
    /// Kernel size, stride and padding.
    pub window: Window,
    /// Whether a bias `b` per output channel is added.
    pub bias: bool,
    /// Whether `max(x·scale + shift, 0)` stands for x, with BatchNorm's `norm` `[1, 1, 4, c_in]` of
    /// rows scale, shift, mean, rstd. The padding stays zero.
    pub activate: bool,
    /// Whether partials `[blocks, 1, 4, c_out]` are left of blocks of y's pixels: their [`MOMENTS`]. Blocks may count 0
    /// pixels.
    pub moments: bool,
    /// What a workgroup of a GPU computes of y's pixels × channels. A block has its rows. Images of few
    /// channels have tiles of their own.
    pub tile: Tile,
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
        let inputs: Vec<TensorId> = [x, w].into_iter().chain(b).collect();
        let y = result(self.desc(x), self.desc(w), window)?.shape;
        let conv = Conv2d {
            window,
            bias: b.is_some(),
            activate: false,
            moments: false,
            tile: Tile::of(y.rows(), y.c()),
        };
        self.push1(conv, &inputs)
    }
}

impl Conv2d {
    /// Number of inputs.
    fn arity(&self) -> usize {
        2 + usize::from(self.bias) + usize::from(self.activate)
    }

    /// The convolution of these images by this weight, for the CPU's kernels.
    pub fn geometry(&self, x: Shape, w: Shape, y: Shape, cpu: CpuContext) -> Geometry {
        Geometry {
            x,
            w,
            y,
            window: self.window,
            matmul: cpu.matmul,
            batch: cpu.batch.unwrap_or(x.n()),
        }
    }

    /// The cut of the pixels of `y`, made with a weight `w`.
    fn blocks(&self, w: Shape, y: Shape) -> Blocks {
        if StemKernel::serves(self.window, w) {
            StemKernel::blocks(y)
        } else {
            Blocks::of_pixels(y, self.tile.rows)
        }
    }
}

impl OpDef for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        ensure!(
            inputs.len() == self.arity(),
            "takes {} inputs, not {}",
            self.arity(),
            inputs.len()
        );
        let (x, w) = (inputs[0], inputs[1]);
        let y = result(x, w, self.window)?;
        if self.bias {
            let want = TensorDesc::f32(Shape::channels(w.shape.c()));
            ensure!(inputs[2] == want, "the bias is {}, not {want}", inputs[2]);
        }
        if self.activate {
            Norm::check(inputs[self.arity() - 1], x)?;
        }
        let mut outputs = vec![y];
        if self.moments {
            let blocks = self.blocks(w.shape, y.shape).count(y.shape.n());
            let partials = Shape([blocks, 1, MOMENTS, y.shape.c()]);
            outputs.push(TensorDesc::f32(partials));
        }
        Ok(outputs)
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        if self.activate || self.moments {
            bail!("a fused convolution has no gradient: differentiate the graph before fusing it");
        }
        let Some(dy) = dy[0] else {
            return Ok(vec![None; node.inputs.len()]);
        };
        let window = self.window;
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let (x_shape, w_shape) = (g.shape(x), g.shape(w));
        let dx = g.push1(Conv2dGradInput::new(window, x_shape), &[dy, w])?;
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

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, cpu: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, w] = [inputs[0], inputs[1]];
        let geometry = self.geometry(x.shape(), w.shape(), outputs[0].shape(), cpu);
        let norm = self
            .activate
            .then(|| Norm::of(inputs[self.arity() - 1].f32()));
        let epilogue = Epilogue {
            bias: self.bias.then(|| inputs[2].f32()),
            ..Epilogue::default()
        };
        let blocks = self.blocks(geometry.w, geometry.y);
        let (y, rest) = outputs.split_first_mut().expect("y");
        let partials = rest.first_mut().map(|partials| Partials {
            data: partials.f32(),
            images_per_unit: blocks.images_per_unit,
            blocks_per_unit: blocks.per_unit(),
        });
        let (forward, w): (conv::Forward, _) = match w.prepared {
            Some(prepared) => (conv::forward_prepared, prepared),
            None => (conv::forward, w.f32()),
        };
        let (x, y) = (x.floats(), y.floats());
        forward(&geometry, x, norm, w, &epilogue, partials, y);
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let (x, w, y) = (inputs[0].shape, inputs[1].shape, outputs[0].shape);
        let Conv2d {
            bias,
            activate,
            moments,
            ..
        } = *self;
        let pass = ConvPass::Forward {
            bias,
            activate,
            moments,
        };
        let stored = inputs[0].dtype;
        let blocks = self.blocks(w, y);
        let images = blocks.images_per_unit;
        let (shader, groups) = if StemKernel::serves(self.window, w) {
            let kernel = StemKernel::new(pass, stored, self.window);
            let groups = StemKernel::groups(blocks.count(y.n()), y.c());
            (Shader::Stem(kernel), groups)
        } else {
            let kernel = ConvKernel {
                pass,
                stored,
                tile: self.tile,
                vec4: x.c().is_multiple_of(16) && y.c().is_multiple_of(4),
                cooperative: None,
            };
            let groups = self.tile.groups(blocks.count(y.n()), y.c());
            (Shader::Conv2d(kernel), groups)
        };
        launch(shader, pass, [x, w, y], self.window, images, groups)
    }

    fn batched(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let blocks = self.blocks(inputs[1].shape, outputs[0].shape);
        let images = blocks.images_per_unit;
        let read = [images, 0, 0, 0];
        let made = [images, blocks.per_unit()];
        let units = blocks.units(inputs[0].shape.n());
        Batched::images(units, &read[..inputs.len()], &made[..outputs.len()])
    }

    fn flops(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        flops(inputs[1].shape, outputs[0].shape)
    }
}
