//! A GPU dispatch as plain data. Nothing here knows wgpu.
use minijinja::{Environment, Value, context};

/// The most workgroups per dimension that WebGPU guarantees.
const MAX_GROUPS: u32 = 65_535;

/// Which WGSL module a kernel comes from. `shaders/common.wgsl` stands before each of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shader {
    /// `shaders/<name>.wgsl` as it stands.
    Plain(&'static str),
    /// `shaders/conv2d.wgsl`, rendered.
    Conv2d {
        /// The kernel.
        pass: ConvPass,
        /// Whether all channel counts are multiples of 4 and four channels are loaded at once.
        vec4: bool,
    },
}

/// The kernels of a convolution; each is named after its entry point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConvPass {
    /// `[x, w] → [y]`.
    Forward,
    /// `[x, w, b] → [y]`.
    ForwardBias,
    /// `[dy, w] → [dx]`.
    GradInput,
    /// `[x, dy] → [partials of dw]`.
    GradWeight,
}

impl ConvPass {
    /// The kernel's entry point.
    pub fn entry(self) -> &'static str {
        match self {
            ConvPass::Forward | ConvPass::ForwardBias => "forward",
            ConvPass::GradInput => "grad_input",
            ConvPass::GradWeight => "grad_weight",
        }
    }
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

    /// The dispatch of an element-wise kernel with 256 invocations per workgroup, one element each.
    /// The first parameter is the number of elements; `params` follow it.
    pub fn elements(shader: Shader, entry: &'static str, count: usize, params: &[u32]) -> Launch {
        let mut all = vec![u32::try_from(count).expect("fewer than 2^32 elements")];
        all.extend_from_slice(params);
        Launch::new(shader, entry, all, count.div_ceil(256))
    }
}

impl Shader {
    /// A name for people and files: the file's, with the values of the template's switches.
    pub fn label(self) -> String {
        match self {
            Shader::Plain(name) => name.to_string(),
            Shader::Conv2d { pass, vec4 } => {
                let vec4 = if vec4 { ".vec4" } else { "" };
                format!("conv2d.{pass:?}{vec4}")
            }
        }
    }

    /// The module's WGSL source.
    pub fn wgsl(self) -> String {
        let source = match self {
            Shader::Plain(name) => plain(name).to_string(),
            Shader::Conv2d { pass, vec4 } => conv2d(pass, vec4),
        };
        format!("{}\n{source}", include_str!("../../shaders/common.wgsl"))
    }
}

fn conv2d(pass: ConvPass, vec4: bool) -> String {
    let part = |index: usize, name: &str, part: &str| context! { index, name, part };
    let four: Vec<Value> = (0..4)
        .zip([("x", ".x"), ("y", ".y"), ("z", ".z"), ("w", ".w")])
        .map(|(index, (name, suffix))| part(index, name, suffix))
        .collect();
    let lanes = if vec4 {
        vec![part(0, "", "")]
    } else {
        four.clone()
    };
    let context = context! {
        pass => pass.entry(),
        bias => pass == ConvPass::ForwardBias,
        vec4,
        lanes,
        four,
        eight => (0..8).collect::<Vec<usize>>(),
    };
    Environment::new()
        .render_str(include_str!("../../shaders/conv2d.wgsl"), context)
        .expect("our own template renders")
}

fn plain(name: &str) -> &'static str {
    match name {
        "adamw" => include_str!("../../shaders/adamw.wgsl"),
        "add" => include_str!("../../shaders/add.wgsl"),
        "batch_norm" => include_str!("../../shaders/batch_norm.wgsl"),
        "conv2d_bias" => include_str!("../../shaders/conv2d_bias.wgsl"),
        "fill" => include_str!("../../shaders/fill.wgsl"),
        "gather" => include_str!("../../shaders/gather.wgsl"),
        "global_avg_pool" => include_str!("../../shaders/global_avg_pool.wgsl"),
        "max_pool" => include_str!("../../shaders/max_pool.wgsl"),
        "cross_entropy" => include_str!("../../shaders/cross_entropy.wgsl"),
        "record" => include_str!("../../shaders/record.wgsl"),
        "relu" => include_str!("../../shaders/relu.wgsl"),
        "sgd" => include_str!("../../shaders/sgd.wgsl"),
        "sum" => include_str!("../../shaders/sum.wgsl"),
        _ => unreachable!("no shader file {name}.wgsl"),
    }
}
