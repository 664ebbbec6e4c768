//! A GPU dispatch as plain data. Nothing here knows wgpu.
use super::stored::stored;
use super::{ConvKernel, Cooperative, StemKernel, Tile};
use crate::tensor::{DType, TensorDesc};

/// The most workgroups per dimension that WebGPU guarantees.
const MAX_GROUPS: u32 = 65_535;

/// Which WGSL module a kernel comes from. `shaders/common.wgsl` stands before each of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shader {
    /// `shaders/<name>.wgsl` as it stands.
    Plain(&'static str),
    /// `shaders/<name>.wgsl` with `Stored` for the elements of images and their gradients.
    Stored(&'static str, DType),
    /// The same with `shaders/lanes_vec4.wgsl` before it, where the last is true, or else `shaders/lanes.wgsl`.
    Lanes(&'static str, DType, bool),
    /// Parts of `shaders/conv2d/`, rendered.
    Conv2d(ConvKernel),
    /// `shaders/conv2d/stem.wgsl` and its neighbours, rendered.
    Stem(StemKernel),
}

/// One compute pipeline: a module and an entry point of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    /// The module.
    pub shader: Shader,
    /// The entry point.
    pub entry: &'static str,
}

/// One dispatch: which kernel, with which geometry, over how many workgroups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// The pipeline.
    pub kernel: Kernel,
    /// The kernel's uniform block, 32-bit words in the order of its struct; f32 as bits.
    pub params: Vec<u32>,
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
}

impl Kernel {
    /// A name for people and files: the shader's, with the entry point.
    pub fn label(self) -> String {
        format!("{}.{}", self.shader.label(), self.entry)
    }
}

impl Launch {
    /// The same dispatch with its products by cooperative matrices, where it has any and they may be.
    pub fn multiplied_by(mut self, unit: Option<Cooperative>) -> Launch {
        if let Shader::Conv2d(kernel) = self.kernel.shader {
            self.kernel.shader = Shader::Conv2d(kernel.multiplied_by(unit));
        }
        self
    }

    /// A dispatch of `groups` workgroups along one axis, folded into two where there are more than
    /// 65,535: the kernel recovers its number as `wg.y * num_workgroups.x + wg.x` and guards.
    pub fn new(shader: Shader, entry: &'static str, params: Vec<u32>, groups: usize) -> Launch {
        let groups = u32::try_from(groups).expect("fewer than 2^32 workgroups");
        let x = groups.clamp(1, MAX_GROUPS);
        let kernel = Kernel { shader, entry };
        Launch {
            kernel,
            params,
            groups: [x, groups.div_ceil(x).max(1), 1],
        }
    }

    /// The dispatch of an element-wise kernel with 256 invocations per workgroup, one element each, or so many
    /// channels as [`Shader::lanes`] says. The first parameter is the number of elements or of such channels; `params` follow it.
    pub fn elements(shader: Shader, entry: &'static str, count: usize, params: &[u32]) -> Launch {
        let mut all = vec![u32::try_from(count).expect("fewer than 2^32 elements")];
        all.extend_from_slice(params);
        Launch::new(shader, entry, all, count.div_ceil(256))
    }
}

impl Shader {
    /// The module of a kernel that does each channel of these images alike, four of them at once where their number
    /// allows it, and how many it does at once.
    pub fn lanes(name: &'static str, images: TensorDesc) -> (Shader, usize) {
        let vec4 = images.shape.c().is_multiple_of(4);
        let shader = Shader::Lanes(name, images.dtype, vec4);
        (shader, if vec4 { 4 } else { 1 })
    }

    /// A name for people and files: the file's, with the values of the template's switches.
    pub fn label(self) -> String {
        match self {
            Shader::Plain(name) => name.to_string(),
            Shader::Stored(name, DType::F32) => name.to_string(),
            Shader::Stored(name, dtype) => format!("{name}.{dtype}"),
            Shader::Lanes(name, dtype, false) => Shader::Stored(name, dtype).label(),
            Shader::Lanes(name, DType::F32, true) => format!("{name}.vec4"),
            Shader::Lanes(name, dtype, true) => format!("{name}.vec4.{dtype}"),
            Shader::Conv2d(kernel) => kernel.label(),
            Shader::Stem(kernel) => kernel.label(),
        }
    }

    /// The same kernels in every tile that the shapes or the tuner may choose.
    pub fn in_every_tile(self) -> Vec<Shader> {
        match self {
            Shader::Conv2d(kernel) => {
                let in_tile = |tile| Shader::Conv2d(ConvKernel { tile, ..kernel });
                Tile::ALL.map(in_tile).to_vec()
            }
            _ => vec![self],
        }
    }

    /// What images and their gradients are stored as.
    pub fn stored(self) -> DType {
        match self {
            Shader::Plain(_) => DType::F32,
            Shader::Stored(_, dtype) | Shader::Lanes(_, dtype, _) => dtype,
            Shader::Conv2d(kernel) => kernel.stored,
            Shader::Stem(kernel) => kernel.stored,
        }
    }

    /// The module's WGSL source.
    pub fn wgsl(self) -> String {
        let source = match self {
            Shader::Plain(name) => plain(name).to_string(),
            Shader::Stored(name, dtype) => {
                format!("{}\n{}", stored(dtype, false), plain(name))
            }
            Shader::Lanes(name, dtype, vec4) => {
                let lanes = match vec4 {
                    true => include_str!("../../shaders/lanes_vec4.wgsl"),
                    false => include_str!("../../shaders/lanes.wgsl"),
                };
                format!("{}\n{lanes}\n{}", stored(dtype, vec4), plain(name))
            }
            Shader::Conv2d(kernel) => kernel.wgsl(),
            Shader::Stem(kernel) => kernel.wgsl(),
        };
        let mut enable = String::new();
        if self.stored() == DType::F16 {
            enable += "enable f16;\n\n";
        }
        if self.is_cooperative() {
            enable += "enable wgpu_cooperative_matrix;\n\n";
        }
        let common = include_str!("../../shaders/common.wgsl");
        format!("{enable}{common}\n{source}")
    }

    /// Whether it needs cooperative matrices of the device.
    pub fn is_cooperative(self) -> bool {
        match self {
            Shader::Conv2d(kernel) => kernel.cooperative.is_some_and(|unit| !unit.emulated),
            _ => false,
        }
    }
}

fn plain(name: &str) -> &'static str {
    match name {
        "activate" => include_str!("../../shaders/activate.wgsl"),
        "adamw" => include_str!("../../shaders/adamw.wgsl"),
        "add" => include_str!("../../shaders/add.wgsl"),
        "batch_norm" => include_str!("../../shaders/batch_norm.wgsl"),
        "batch_norm_apply" => include_str!("../../shaders/batch_norm_apply.wgsl"),
        "batch_norm_pool" => include_str!("../../shaders/batch_norm_pool.wgsl"),
        "conv2d_bias" => include_str!("../../shaders/conv2d_bias.wgsl"),
        "fill" => include_str!("../../shaders/fill.wgsl"),
        "gather" => include_str!("../../shaders/gather.wgsl"),
        "global_avg_pool" => include_str!("../../shaders/global_avg_pool.wgsl"),
        "loss_scale" => include_str!("../../shaders/loss_scale.wgsl"),
        "max_pool" => include_str!("../../shaders/max_pool.wgsl"),
        "cross_entropy" => include_str!("../../shaders/cross_entropy.wgsl"),
        "norm" => include_str!("../../shaders/norm.wgsl"),
        "record" => include_str!("../../shaders/record.wgsl"),
        "relu" => include_str!("../../shaders/relu.wgsl"),
        "sgd" => include_str!("../../shaders/sgd.wgsl"),
        "sgd_bucket" => include_str!("../../shaders/sgd_bucket.wgsl"),
        "sum" => include_str!("../../shaders/sum.wgsl"),
        _ => unreachable!("no shader file {name}.wgsl"),
    }
}
