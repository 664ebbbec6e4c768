//! A GPU dispatch as plain data. Nothing here knows wgpu.
use super::stored::stored;
use super::wgsl::{Wgsl, wgsl};
use super::{ConvKernel, Cooperative, StemKernel, Tile, UpdateKernel};
use crate::tensor::{DType, TensorDesc};

/// The most workgroups per dimension that WebGPU guarantees.
const MAX_GROUPS: u32 = 65_535;

/// Which WGSL module a kernel comes from. `shaders/common.wgsl` stands before each of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shader {
    /// `shaders/<name>.wgsl` as it stands.
    Plain(Wgsl),
    /// `shaders/<name>.wgsl` with `Stored` for the elements of images and their gradients.
    Stored(Wgsl, DType),
    /// The same with `shaders/lanes_vec4.wgsl` before it, where the last is true, or else `shaders/lanes.wgsl`.
    Lanes(Wgsl, DType, bool),
    /// Parts of `shaders/conv2d/`, rendered.
    Conv2d(ConvKernel),
    /// `shaders/conv2d/stem.wgsl` and its neighbours, rendered.
    Stem(StemKernel),
    /// Parts of `shaders/update/`, rendered.
    Update(UpdateKernel),
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

/// A size as kernels take it. Devices bind less than 2³² bytes, to which plans for them are cut; only of a plan for the
/// CPU there may be larger ones, which is told of and never launched.
pub(super) fn word(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
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
        let groups = word(groups);
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
        let mut all = vec![word(count)];
        all.extend_from_slice(params);
        Launch::new(shader, entry, all, count.div_ceil(256))
    }
}

impl Shader {
    /// The module of a kernel that does each channel of these images alike, four of them at once where their number
    /// allows it, and how many it does at once.
    pub fn lanes(file: Wgsl, images: TensorDesc) -> (Shader, usize) {
        let vec4 = images.shape.c().is_multiple_of(4);
        let shader = Shader::Lanes(file, images.dtype, vec4);
        (shader, if vec4 { 4 } else { 1 })
    }

    /// A name for people and files: the file's, with the values of the template's switches.
    pub fn label(self) -> String {
        match self {
            Shader::Plain(file) | Shader::Stored(file, DType::F32) => file.name.to_string(),
            Shader::Stored(file, dtype) => format!("{}.{dtype}", file.name),
            Shader::Lanes(file, dtype, false) => Shader::Stored(file, dtype).label(),
            Shader::Lanes(file, DType::F32, true) => format!("{}.vec4", file.name),
            Shader::Lanes(file, dtype, true) => format!("{}.vec4.{dtype}", file.name),
            Shader::Conv2d(kernel) => kernel.label(),
            Shader::Stem(kernel) => kernel.label(),
            Shader::Update(kernel) => kernel.label(),
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
            Shader::Plain(_) | Shader::Update(_) => DType::F32,
            Shader::Stored(_, dtype) | Shader::Lanes(_, dtype, _) => dtype,
            Shader::Conv2d(kernel) => kernel.stored,
            Shader::Stem(kernel) => kernel.stored,
        }
    }

    /// The module's WGSL source.
    pub fn wgsl(self) -> String {
        let source = match self {
            Shader::Plain(file) => file.source.to_string(),
            Shader::Stored(file, dtype) => format!("{}\n{}", stored(dtype, false), file.source),
            Shader::Lanes(file, dtype, vec4) => {
                let lanes = match vec4 {
                    true => wgsl!("lanes_vec4").source,
                    false => wgsl!("lanes").source,
                };
                format!("{}\n{lanes}\n{}", stored(dtype, vec4), file.source)
            }
            Shader::Conv2d(kernel) => kernel.wgsl(),
            Shader::Stem(kernel) => kernel.wgsl(),
            Shader::Update(kernel) => kernel.wgsl(),
        };
        let mut enable = String::new();
        if self.stored() == DType::F16 {
            enable += "enable f16;\n\n";
        }
        if self.is_cooperative() {
            enable += "enable wgpu_cooperative_matrix;\n\n";
        }
        let common = wgsl!("common").source;
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
