//! Gradient clipping by the norm of all parameters' gradients together, decided on the device.
use super::wgsl::wgsl;
use super::{Launch, OpDef, Segment, Shader, UpdateKernel, View, ViewMut, arity, update};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Shader = Shader::Plain(wgsl!("clip"));

/// Added to the norm that is divided by, as in `torch.nn.utils.clip_grad_norm_`.
const EPS: f32 = 1e-6;

const ONE: TensorDesc = TensorDesc::f32(Shape::channels(1));

/// `[g] → [squares: 1×1×1×blocks]`: for every 1,024 elements of each segment the sum of the squares of the gradients, each
/// the sum of its partial gradients.
#[derive(Clone, PartialEq, Debug)]
pub struct GradientSquares {
    /// The gradients, as in [`super::Update`].
    pub segments: Vec<Segment>,
}

/// `[squares: 1×1×1×n, (before: 1)] → [1]`: the sum of them all.
#[derive(Clone, PartialEq, Debug)]
pub struct AddSquares;

/// `[lr or step, squares: 1] → [step]`: `step = [lr, unscale · c]`, by which the gradient's norm is `norm` at most:
/// `c = min(1, norm / (√squares · unscale + 10⁻⁶))`. An `unscale` of 0, no update, stays 0; without one it is 1. See
/// <https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html>. A norm that is not finite makes `c` a
/// NaN and so the weights, which the training notices.
#[derive(Clone, PartialEq, Debug)]
pub struct Clip {
    /// The longest norm, above 0.
    pub norm: f32,
}

impl OpDef for GradientSquares {
    fn name(&self) -> &'static str {
        "gradient_squares"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [g] = arity(inputs)?;
        update::check(&self.segments, g, usize::MAX)?;
        let blocks = update::blocks(&self.segments);
        Ok(vec![TensorDesc::f32(Shape::channels(blocks))])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (g, mut squares) = (inputs[0].f32(), outputs[0].f32());
        for s in &self.segments {
            let (here, rest) = squares.split_at_mut(s.blocks());
            squares = rest;
            here.par_iter_mut().enumerate().for_each(|(block, square)| {
                let gradient = update::gradient(s, g, block);
                let squares = gradient.iter().map(|&g| f64::from(g) * f64::from(g));
                *square = squares.sum::<f64>() as f32;
            });
        }
    }

    fn launch(&self, _: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let params = update::params(&self.segments, false, &[]);
        let shader = Shader::Update(UpdateKernel::Squares);
        Launch::new(shader, "forward", params, update::blocks(&self.segments))
    }

    fn flops(&self, _: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        let flops = self.segments.iter().map(|s| (s.partials + 2) * s.len);
        flops.sum::<usize>() as u64
    }

    fn bytes(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        let elements = self.segments.iter().map(|s| s.partials * s.len);
        4 * elements.sum::<usize>() as u64 + outputs[0].bytes() as u64
    }
}

impl OpDef for AddSquares {
    fn name(&self) -> &'static str {
        "add_squares"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let count = inputs.len();
        ensure!(count == 1 || count == 2, "takes 1 or 2 inputs, not {count}");
        let squares = inputs[0];
        ensure!(
            squares == TensorDesc::f32(Shape::channels(squares.shape.c())),
            "squares {squares} are not f32[1×1×1×N]"
        );
        let before = inputs.get(1).copied().unwrap_or(ONE);
        ensure!(before == ONE, "{before} is not {ONE}");
        Ok(vec![ONE])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let all = inputs.iter().flat_map(|squares| squares.f32());
        outputs[0].f32()[0] = all.map(|&square| f64::from(square)).sum::<f64>() as f32;
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let entry = match inputs.len() {
            1 => "add_squares",
            _ => "add_squares_to_those_before",
        };
        Launch::new(SHADER, entry, vec![inputs[0].shape.len() as u32, 0], 1)
    }
}

impl OpDef for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [step, squares] = arity(inputs)?;
        update::check_rate(step)?;
        ensure!(squares == ONE, "{squares} is not {ONE}");
        Ok(vec![update::STEP])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (step, squares) = (inputs[0].f32(), inputs[1].f32()[0]);
        let unscale = step.get(1).copied().unwrap_or(1.0);
        let norm = squares.sqrt() * unscale + EPS;
        let factor = match (unscale == 0.0, norm.is_finite()) {
            (true, _) => 0.0,
            (false, true) => unscale * (self.norm / norm).min(1.0),
            (false, false) => f32::NAN,
        };
        outputs[0].f32().copy_from_slice(&[step[0], factor]);
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let scaled = inputs[0] == update::STEP;
        let params = vec![u32::from(scaled), self.norm.to_bits()];
        Launch::new(SHADER, "clip", params, 1)
    }
}
