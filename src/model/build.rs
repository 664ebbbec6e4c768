//! Appends the layers of a network to a graph, naming parameters as PyTorch does.
use super::{Arch, Block, Layer, LayerKind, Mode, Network, Param, Role, Stem};
use crate::graph::{Graph, TensorId};
use crate::kernels::Window;
use crate::ops::BatchNorm;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Context, Result};

/// PyTorch's default, which the chapter uses.
const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// Appends the network on `x` `[n, h, w, in_channels]`.
///
/// # Errors
/// When the images are too small for the windows.
pub fn build(g: &mut Graph, arch: &Arch, x: TensorId, mode: Mode) -> Result<Network> {
    arch.check()?;
    let mut b = Builder::new(g, arch, mode);
    let logits = b.network(x)?;
    Ok(Network {
        logits,
        params: b.params,
        layers: b.layers,
        stages: b.stages,
    })
}

/// Appends one residual block on `x`, named `name`; the shortcut projects where the shape changes.
///
/// # Errors
/// When the images are too small for the windows.
pub fn residual(
    g: &mut Graph,
    arch: &Arch,
    name: &str,
    x: TensorId,
    width: usize,
    stride: usize,
    mode: Mode,
) -> Result<TensorId> {
    let mut b = Builder::new(g, arch, mode);
    b.block(name, x, width, stride)
}

/// The network on images of `size`×`size`, evaluated; for shapes and counts, nothing is executed.
///
/// # Errors
/// When the images are too small for the windows.
pub fn describe(arch: &Arch, batch: usize, size: usize) -> Result<(Graph, Network)> {
    let mut g = Graph::default();
    let x = g.input(
        "x",
        TensorDesc::f32(Shape([batch, size, size, arch.in_channels])),
    );
    let network = build(&mut g, arch, x, Mode::Eval)?;
    Ok((g, network))
}

struct Builder<'a> {
    g: &'a mut Graph,
    arch: &'a Arch,
    mode: Mode,
    params: Vec<Param>,
    layers: Vec<Layer>,
    stages: Vec<TensorId>,
}

impl<'a> Builder<'a> {
    fn new(g: &'a mut Graph, arch: &'a Arch, mode: Mode) -> Builder<'a> {
        let (params, layers, stages) = Default::default();
        Builder {
            g,
            arch,
            mode,
            params,
            layers,
            stages,
        }
    }

    fn network(&mut self, x: TensorId) -> Result<TensorId> {
        let Arch {
            stem,
            stem_kind,
            classes,
            block,
            ..
        } = *self.arch;
        let kernel = stem_kind.kernel();
        let first = Window {
            kernel,
            stride: if stem_kind == Stem::Imagenet { 2 } else { 1 },
            pad: kernel / 2,
        };
        let mut y = self.conv("conv1", x, stem, first)?;
        if !block.is_pre_activation() {
            y = self.batch_norm("bn1", y)?;
            y = self.relu("relu", y)?;
        }
        if stem_kind == Stem::Imagenet {
            let window = Window {
                kernel: 3,
                stride: 2,
                pad: 1,
            };
            y = self.g.max_pool(y, window).context("maxpool")?;
            self.layer("maxpool", LayerKind::MaxPool, Some(window), y, 0, 0);
        }

        for (s, stage) in self.arch.stages.iter().enumerate() {
            for i in 0..stage.blocks {
                let stride = if s > 0 && i == 0 { 2 } else { 1 };
                y = self.block(&format!("layer{}.{i}", s + 1), y, stage.width, stride)?;
            }
            self.stages.push(y);
        }
        if block.is_pre_activation() {
            y = self.batch_norm("bn_last", y)?;
            y = self.relu("relu_last", y)?;
        }
        y = self.g.global_avg_pool(y)?;
        self.layer("avgpool", LayerKind::GlobalAvgPool, None, y, 0, 0);
        self.linear("fc", y, classes)
    }

    fn block(&mut self, name: &str, x: TensorId, width: usize, stride: usize) -> Result<TensorId> {
        let at = |layer: &str| format!("{name}.{layer}");
        let conv3 = |stride| Window {
            kernel: 3,
            stride,
            pad: 1,
        };
        let conv1 = Window {
            kernel: 1,
            stride: 1,
            pad: 0,
        };
        match self.arch.block {
            Block::Basic => {
                let mut y = self.conv(&at("conv1"), x, width, conv3(stride))?;
                y = self.batch_norm(&at("bn1"), y)?;
                y = self.relu(&at("relu1"), y)?;
                y = self.conv(&at("conv2"), y, width, conv3(1))?;
                y = self.batch_norm(&at("bn2"), y)?;
                let shortcut = self.shortcut(name, x, width, stride)?;
                y = self.add(&at("add"), y, shortcut)?;
                self.relu(&at("relu2"), y)
            }
            Block::Bottleneck => {
                let mut y = self.conv(&at("conv1"), x, width, conv1)?;
                y = self.batch_norm(&at("bn1"), y)?;
                y = self.relu(&at("relu1"), y)?;
                y = self.conv(&at("conv2"), y, width, conv3(stride))?;
                y = self.batch_norm(&at("bn2"), y)?;
                y = self.relu(&at("relu2"), y)?;
                y = self.conv(&at("conv3"), y, 4 * width, conv1)?;
                y = self.batch_norm(&at("bn3"), y)?;
                let shortcut = self.shortcut(name, x, 4 * width, stride)?;
                y = self.add(&at("add"), y, shortcut)?;
                self.relu(&at("relu3"), y)
            }
            Block::PreActBasic => {
                let (a, shortcut) = self.activated(name, x, width, stride)?;
                let mut y = self.conv(&at("conv1"), a, width, conv3(stride))?;
                y = self.batch_norm(&at("bn2"), y)?;
                y = self.relu(&at("relu2"), y)?;
                y = self.conv(&at("conv2"), y, width, conv3(1))?;
                self.add(&at("add"), y, shortcut)
            }
            Block::PreActBottleneck => {
                let (a, shortcut) = self.activated(name, x, 4 * width, stride)?;
                let mut y = self.conv(&at("conv1"), a, width, conv1)?;
                y = self.batch_norm(&at("bn2"), y)?;
                y = self.relu(&at("relu2"), y)?;
                y = self.conv(&at("conv2"), y, width, conv3(stride))?;
                y = self.batch_norm(&at("bn3"), y)?;
                y = self.relu(&at("relu3"), y)?;
                y = self.conv(&at("conv3"), y, 4 * width, conv1)?;
                self.add(&at("add"), y, shortcut)
            }
        }
    }

    /// The input of a pre-activation block after its BatchNorm and ReLU, and the block's shortcut.
    fn activated(
        &mut self,
        name: &str,
        x: TensorId,
        c_out: usize,
        stride: usize,
    ) -> Result<(TensorId, TensorId)> {
        let mut a = self.batch_norm(&format!("{name}.bn1"), x)?;
        a = self.relu(&format!("{name}.relu1"), a)?;
        // A projection takes the activated input, an identity the raw one.
        let projects = stride != 1 || self.g.shape(x).c() != c_out;
        let shortcut = self.shortcut(name, if projects { a } else { x }, c_out, stride)?;
        Ok((a, shortcut))
    }

    /// `x` itself, or its 1×1 projection where the block changes its shape.
    fn shortcut(
        &mut self,
        name: &str,
        x: TensorId,
        c_out: usize,
        stride: usize,
    ) -> Result<TensorId> {
        if stride == 1 && self.g.shape(x).c() == c_out {
            return Ok(x);
        }
        let window = Window {
            kernel: 1,
            stride,
            pad: 0,
        };
        let y = self.conv(&format!("{name}.downsample.0"), x, c_out, window)?;
        if self.arch.shortcut_bn {
            self.batch_norm(&format!("{name}.downsample.1"), y)
        } else {
            Ok(y)
        }
    }

    fn conv(&mut self, name: &str, x: TensorId, c_out: usize, window: Window) -> Result<TensorId> {
        let (kernel, c_in) = (window.kernel, self.g.shape(x).c());
        let shape = Shape([kernel, kernel, c_in, c_out]);
        let w = self.param(name, "weight", shape, Role::ConvWeight);
        let bias = Role::Bias {
            fan_in: kernel * kernel * c_in,
        };
        let b = self
            .arch
            .conv_bias
            .then(|| self.param(name, "bias", Shape::channels(c_out), bias));
        let y = self
            .g
            .conv2d(x, w, b, window)
            .with_context(|| name.to_string())?;
        let macs = self.g.shape(y).rows().saturating_mul(shape.len());
        let params = shape.len() + if b.is_some() { c_out } else { 0 };
        Ok(self.layer(name, LayerKind::Conv2d, Some(window), y, params, macs))
    }

    fn linear(&mut self, name: &str, x: TensorId, classes: usize) -> Result<TensorId> {
        let c_in = self.g.shape(x).c();
        let shape = Shape([1, 1, c_in, classes]);
        let w = self.param(name, "weight", shape, Role::LinearWeight);
        let b = self.param(
            name,
            "bias",
            Shape::channels(classes),
            Role::Bias { fan_in: c_in },
        );
        let y = self.g.linear(x, w, b).with_context(|| name.to_string())?;
        let macs = self.g.shape(y).rows().saturating_mul(shape.len());
        Ok(self.layer(
            name,
            LayerKind::Linear,
            None,
            y,
            shape.len() + classes,
            macs,
        ))
    }

    fn batch_norm(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let channels = Shape::channels(self.g.shape(x).c());
        let bn = BatchNorm {
            gamma: self.param(name, "weight", channels, Role::Gamma),
            beta: self.param(name, "bias", channels, Role::Beta),
            running_mean: self.param(name, "running_mean", channels, Role::RunningMean),
            running_var: self.param(name, "running_var", channels, Role::RunningVar),
        };
        let y = match self.mode.takes_batch_statistics(name) {
            true => self.g.batch_norm_train(x, &bn, EPS, MOMENTUM),
            false => self.g.batch_norm_eval(x, &bn, EPS),
        }
        .with_context(|| name.to_string())?;
        Ok(self.layer(name, LayerKind::BatchNorm, None, y, 2 * channels.c(), 0))
    }

    fn relu(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let y = self.g.relu(x)?;
        Ok(self.layer(name, LayerKind::Relu, None, y, 0, 0))
    }

    fn add(&mut self, name: &str, a: TensorId, b: TensorId) -> Result<TensorId> {
        let y = self.g.add(a, b).with_context(|| name.to_string())?;
        Ok(self.layer(name, LayerKind::Add, None, y, 0, 0))
    }

    fn param(&mut self, layer: &str, of: &str, shape: Shape, role: Role) -> TensorId {
        let name = format!("{layer}.{of}");
        let tensor = self.g.state(&name, TensorDesc::f32(shape));
        self.params.push(Param {
            name,
            tensor,
            shape,
            role,
        });
        tensor
    }

    fn layer(
        &mut self,
        name: &str,
        kind: LayerKind,
        window: Option<Window>,
        output: TensorId,
        params: usize,
        macs: usize,
    ) -> TensorId {
        self.g.label(output, name);
        self.layers.push(Layer {
            name: name.to_string(),
            kind,
            window,
            output,
            params,
            macs,
        });
        output
    }
}
