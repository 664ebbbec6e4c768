//! Dynamic loss scaling: the gradient of the loss is multiplied by a power of two, so that small gradients
//! do not vanish in f16; the update divides by it, or is left out where a gradient overflowed. All of it is
//! decided on the device.
use super::wgsl::wgsl;
use super::{
    Launch, OpDef, Segment, Shader, UpdateKernel, View, ViewMut, arity, update, update::STEP,
};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Shader = Shader::Plain(wgsl!("loss_scale"));

/// Steps without an overflow after which the scale is doubled.
const PATIENCE: f32 = 2000.0;
/// The scale stays within these bounds; its inverse is exact.
const BOUNDS: [f32; 2] = [1.0, 16_777_216.0];

/// The scale of a training's first step, on batches of so many examples: 64 times their number or, as it is a power of
/// two, up to 128 times, so that the loss of each counts 64 to 128.
///
/// How far gradients go depends on that alone. In the first steps of the chapter's network, with batches of 4 to 256 at
/// 28 and 96 pixels, they overflow where it is more than 512 to 4096, and down to a scale of 1 none is too small to
/// bring the update nearer to f32's; a constant scale of 65,536 would have cost batches of 32 and less their first steps.
pub fn first_scale(batch: usize) -> f32 {
    let scale = 64.0 * batch.next_power_of_two() as f32;
    scale.clamp(BOUNDS[0], BOUNDS[1])
}

/// The scale, and the steps since it changed last.
pub const SCALING: TensorDesc = TensorDesc::f32(Shape::channels(2));
const ONE: TensorDesc = TensorDesc::u32(Shape::channels(1));

/// `[g] → [flags: u32 1×1×1×blocks]`: for every 1,024 elements of each segment 1 if one of their partial
/// gradients is infinite or not a number, else 0. Partial gradients that are finite have a finite sum:
/// products of f16 are below 2³², and a gradient sums fewer than 2⁹⁶ of them.
#[derive(Clone, PartialEq, Debug)]
pub struct GradientCheck {
    /// The gradients, as in [`super::Update`].
    pub segments: Vec<Segment>,
}

/// `[flags: u32 1×1×1×n, (before: u32 1)] → [u32 1]`: 1 if any of them is not 0, else 0.
#[derive(Clone, PartialEq, Debug)]
pub struct AnyFlag;

/// `[lr, overflow: u32 1] → [step]`, state `[scaling]`: `step = [lr, 1/scale]`, and the scale is doubled after
/// 2,000 steps; with an overflow `step = [lr, 0]`, and the scale is halved.
#[derive(Clone, PartialEq, Debug)]
pub struct Rescale;

impl OpDef for GradientCheck {
    fn name(&self) -> &'static str {
        "gradient_check"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [g] = arity(inputs)?;
        update::check(&self.segments, g, usize::MAX)?;
        let blocks = update::blocks(&self.segments);
        Ok(vec![TensorDesc::u32(Shape::channels(blocks))])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let mut flags = outputs[0].u32();
        for s in &self.segments {
            let (here, rest) = flags.split_at_mut(s.blocks());
            flags = rest;
            let g = &inputs[0].f32()[s.g..][..s.partials * s.len];
            here.par_iter_mut().enumerate().for_each(|(block, flag)| {
                let first = block * update::BLOCK;
                let len = update::BLOCK.min(s.len - first);
                let mut parts = (0..s.partials).map(|part| &g[part * s.len + first..][..len]);
                *flag = u32::from(parts.any(|g| g.iter().any(|v| !v.is_finite())));
            });
        }
    }

    fn launch(&self, _: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let params = update::params(&self.segments, false, &[]);
        let shader = Shader::Update(UpdateKernel::Check);
        Launch::new(shader, "forward", params, update::blocks(&self.segments))
    }

    fn flops(&self, _: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        let elements = self.segments.iter().map(|s| s.partials * s.len);
        elements.sum::<usize>() as u64
    }

    fn bytes(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        let elements = self.segments.iter().map(|s| s.partials * s.len);
        4 * elements.sum::<usize>() as u64 + outputs[0].bytes() as u64
    }
}

impl OpDef for AnyFlag {
    fn name(&self) -> &'static str {
        "any_flag"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let count = inputs.len();
        ensure!(count == 1 || count == 2, "takes 1 or 2 inputs, not {count}");
        let flags = inputs[0];
        ensure!(
            flags == TensorDesc::u32(flags.shape),
            "flags {flags} are not u32"
        );
        let before = inputs.get(1).copied().unwrap_or(ONE);
        ensure!(before == ONE, "{before} is not one flag");
        Ok(vec![ONE])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let any = inputs
            .iter()
            .any(|flags| flags.u32().iter().any(|&f| f != 0));
        outputs[0].u32()[0] = u32::from(any);
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let entry = match inputs.len() {
            1 => "any_flag",
            _ => "any_flag_or_before",
        };
        let params = vec![inputs[0].shape.len() as u32, 0, 0, 0];
        Launch::new(SHADER, entry, params, 1)
    }
}

impl OpDef for Rescale {
    fn name(&self) -> &'static str {
        "rescale"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [lr, overflow] = arity(inputs)?;
        ensure!(
            lr == TensorDesc::f32(Shape::channels(1)),
            "learning rate {lr} is not one f32"
        );
        ensure!(overflow == ONE, "{overflow} is not one flag");
        Ok(vec![STEP, SCALING])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (lr, overflow) = (inputs[0].f32()[0], inputs[1].u32()[0] != 0);
        let [step, scaling] = outputs else {
            unreachable!("a value and a state are inferred");
        };
        let (step, scaling) = (step.f32(), scaling.f32());
        let [scale, clean] = [scaling[0], scaling[1] + 1.0];
        let (unscale, next) = if overflow {
            (0.0, [(0.5 * scale).max(BOUNDS[0]), 0.0])
        } else if clean >= PATIENCE {
            (1.0 / scale, [(2.0 * scale).min(BOUNDS[1]), 0.0])
        } else {
            (1.0 / scale, [scale, clean])
        };
        step.copy_from_slice(&[lr, unscale]);
        scaling.copy_from_slice(&next);
    }

    fn launch(&self, _: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let [least, most] = BOUNDS.map(f32::to_bits);
        let params = vec![0, PATIENCE.to_bits(), least, most];
        Launch::new(SHADER, "rescale", params, 1)
    }
}
