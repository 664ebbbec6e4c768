//! The files of `shaders/conv2d/` are the parts of templates; this names the variants of a convolution as a
//! matrix product and renders them.
use super::{Cooperative, Mask, Tile, cooperative};
use crate::ops::stored::stored;
use crate::ops::wgsl::wgsl;
use crate::tensor::DType;
use minijinja::{Environment, Value, context};
use std::collections::BTreeMap;

/// The parts of the kernels: what several share first, so that a macro stands before its use.
const TILE: &str = wgsl!("conv2d/tile").source;
const LOAD: &str = wgsl!("conv2d/load").source;
const PRODUCT: &str = wgsl!("conv2d/product").source;
const COOPERATIVE: &str = wgsl!("conv2d/cooperative").source;
const STORE: &str = wgsl!("conv2d/store").source;
pub(super) const MOMENTS: &str = wgsl!("conv2d/moments").source;
const FORWARD: &str = wgsl!("conv2d/forward").source;
const GRAD_INPUT: &str = wgsl!("conv2d/grad_input").source;
const GRAD_WEIGHT: &str = wgsl!("conv2d/grad_weight").source;
pub(super) const STEM: &str = wgsl!("conv2d/stem").source;
pub(super) const STEM_FORWARD: &str = wgsl!("conv2d/stem_forward").source;
pub(super) const STEM_GRAD_WEIGHT: &str = wgsl!("conv2d/stem_grad_weight").source;

/// A convolution's kernel with what is fused into it; the entry point is named after the pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConvPass {
    /// `[x, w, (b), (norm)] → [y, (partials)]`.
    Forward {
        /// Whether there is a bias `b`.
        bias: bool,
        /// Whether x goes through BatchNorm and ReLU first, with `norm`.
        activate: bool,
        /// Whether `partials` of y's moments are left.
        moments: bool,
    },
    /// `[dy, w, (skip), (pre, norm), (out)] → [dx, (partials)]`.
    GradInput {
        /// Whether `skip` is added.
        add: bool,
        /// The mask, whose tensors are `pre` and `norm`, and perhaps `out`.
        mask: Mask,
    },
    /// `[x, dy, (norm)] → [partials of dw]`.
    GradWeight {
        /// Whether x goes through BatchNorm and ReLU first, with `norm`.
        activate: bool,
    },
}

/// A variant of the template.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvKernel {
    /// The kernel.
    pub pass: ConvPass,
    /// What images and their gradients are stored as, f32 or f16.
    pub stored: DType,
    /// What a workgroup computes.
    pub tile: Tile,
    /// Whether four channels are loaded at once: all channel counts are multiples of 4, and those that
    /// are summed over, of 16.
    pub vec4: bool,
    /// What multiplies instead of the invocations themselves. It needs `vec4` and images of f16.
    pub cooperative: Option<Cooperative>,
}

impl ConvPass {
    /// The kernel's entry point.
    pub fn entry(self) -> &'static str {
        match self {
            ConvPass::Forward { .. } => "forward",
            ConvPass::GradInput { .. } => "grad_input",
            ConvPass::GradWeight { .. } => "grad_weight",
        }
    }

    /// The part of the template that only this kernel has.
    fn part(self) -> &'static str {
        match self {
            ConvPass::Forward { .. } => FORWARD,
            ConvPass::GradInput { .. } => GRAD_INPUT,
            ConvPass::GradWeight { .. } => GRAD_WEIGHT,
        }
    }

    /// Whether a workgroup reduces what it computed.
    fn reduces(self) -> bool {
        match self {
            ConvPass::Forward { moments, .. } => moments,
            ConvPass::GradInput { mask, .. } => mask != Mask::None,
            ConvPass::GradWeight { .. } => false,
        }
    }

    /// The entry point with what is fused into it.
    pub(super) fn label(self) -> String {
        let flags = match self {
            ConvPass::Forward {
                bias,
                activate,
                moments,
            } => vec![(bias, "bias"), (activate, "activate"), (moments, "moments")],
            ConvPass::GradInput { add, mask } => vec![
                (add, "add"),
                (mask == Mask::Activation, "activation"),
                (mask == Mask::Output, "output"),
            ],
            ConvPass::GradWeight { activate } => vec![(activate, "activate")],
        };
        let mut label = self.entry().to_string();
        for (_, flag) in flags.into_iter().filter(|(set, _)| *set) {
            label = format!("{label}.{flag}");
        }
        label
    }

    /// The tensors in the order of their bindings, from binding 1.
    pub(super) fn tensors(self) -> Vec<&'static str> {
        let all: &[(&str, bool)] = match self {
            ConvPass::Forward {
                bias,
                activate,
                moments,
            } => &[
                ("x", true),
                ("w", true),
                ("b", bias),
                ("norm", activate),
                ("y", true),
                ("partials", moments),
            ],
            ConvPass::GradInput { add, mask } => &[
                ("dy", true),
                ("w", true),
                ("skip", add),
                ("pre", mask != Mask::None),
                ("norm", mask != Mask::None),
                ("out", mask == Mask::Output),
                ("dx", true),
                ("partials", mask != Mask::None),
            ],
            ConvPass::GradWeight { activate } => &[
                ("x", true),
                ("dy", true),
                ("norm", activate),
                ("partials", true),
            ],
        };
        let bound = all.iter().filter(|(_, bound)| *bound);
        bound.map(|(name, _)| *name).collect()
    }
}

impl ConvKernel {
    /// Everything that the kernels of convolutions are rendered of, `shaders/conv2d/`.
    pub const SOURCES: [&str; 12] = [
        TILE,
        LOAD,
        PRODUCT,
        COOPERATIVE,
        STORE,
        MOMENTS,
        FORWARD,
        GRAD_INPUT,
        GRAD_WEIGHT,
        STEM,
        STEM_FORWARD,
        STEM_GRAD_WEIGHT,
    ];

    /// A name for people and files: the pass, what is fused into it, how it loads, and its tile.
    pub fn label(self) -> String {
        format!("{}.{}", self.name(), self.tile)
    }

    /// The same without the tile.
    pub(crate) fn name(self) -> String {
        let mut label = format!("conv2d.{}", self.pass.label());
        if self.vec4 {
            label += ".vec4";
        }
        if self.stored != DType::F32 {
            label = format!("{label}.{}", self.stored);
        }
        if let Some(unit) = self.cooperative {
            label = format!("{label}.{}", unit.label());
        }
        label
    }

    /// The same kernel with its products by cooperative matrices where that loses nothing but digits of the
    /// weights: of images that are stored as f16 and whose gradients are therefore scaled. f32 numbers may
    /// lie outside f16's range, and small gradients do.
    pub fn multiplied_by(self, unit: Option<Cooperative>) -> ConvKernel {
        let fits = self.vec4 && self.stored == DType::F16;
        ConvKernel {
            cooperative: unit.filter(|_| fits),
            ..self
        }
    }

    /// Whether factors go through BatchNorm and ReLU on the way.
    fn activates(self) -> bool {
        match self.pass {
            ConvPass::Forward { activate, .. } | ConvPass::GradWeight { activate } => activate,
            ConvPass::GradInput { .. } => false,
        }
    }

    /// The module's WGSL source.
    pub fn wgsl(self) -> String {
        let part = |index: usize, name: &str, part: &str| context! { index, name, part };
        let four: Vec<Value> = (0..4)
            .zip([("x", ".x"), ("y", ".y"), ("z", ".z"), ("w", ".w")])
            .map(|(index, (name, suffix))| part(index, name, suffix))
            .collect();
        let lanes = if self.vec4 {
            vec![part(0, "", "")]
        } else {
            four.clone()
        };
        // Binding numbers by tensor; a tensor that is not bound has none, and so no declaration.
        let at: BTreeMap<&str, usize> = self.pass.tensors().into_iter().zip(1..).collect();
        let tile = self.tile;
        let coop = self
            .cooperative
            .map(|unit| cooperative::context(tile, unit));
        let across = tile.columns / 8;
        // The rows of an invocation: of which group of four, which part of it, and where in the tile.
        let groups = tile.rows_each() / 4;
        let rows_apart = tile.rows / groups;
        let rows: Vec<Value> = (0..tile.rows_each())
            .map(|index| {
                let (group, at) = (index / 4, index / 4 * rows_apart + index % 4);
                context! { index, group, at, part => four[index % 4].get_attr("name").expect("named above") }
            })
            .collect();
        let down = tile.invocations() / across;
        let sums = context! {
            a => "tile_a",
            b => "tile_b",
            row => "tile_row",
            col => "tile_col",
            rows => down,
            across,
            line => tile.columns / 4,
            values => (0..tile.rows_each()).collect::<Vec<usize>>(),
        };
        let context = context! {
            pass => self.pass.entry(),
            tile => context! {
                rows => tile.rows,
                columns => tile.columns,
                invocations => tile.invocations(),
                each => tile.rows_each(),
                rows_apart,
                columns_apart => tile.columns / 2,
            },
            groups_a => tile.rows / 4,
            groups_b => tile.columns / 4,
            across,
            sums => self.pass.reduces().then_some(sums),
            rows,
            row_groups => (0..groups).collect::<Vec<usize>>(),
            at,
            stored => stored(self.stored, self.vec4),
            vec4 => self.vec4,
            lanes,
            // What is neither activated nor multiplied in f32 stays as it is stored.
            loaded => if coop.is_some() && !self.activates() { "Stored" } else { "Element" },
            four,
            coop => coop.clone(),
        };
        let parts = [TILE, LOAD, PRODUCT, STORE, MOMENTS, self.pass.part()];
        let main = render(&parts, context);
        match coop {
            Some(coop) => render(&[COOPERATIVE], coop) + &main,
            None => main,
        }
    }
}

/// One template of these parts, rendered.
pub(in crate::ops) fn render(parts: &[&str], context: Value) -> String {
    Environment::new()
        .render_str(&parts.join("\n"), context)
        .expect("our own template renders")
}
