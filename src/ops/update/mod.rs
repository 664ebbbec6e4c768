//! The update of parameters that lie in one pack, by one rule. The second stage of the reductions that their
//! gradients come from is done on the way. What is special about a rule is in `rules/`.
mod accumulate;
mod bias_correction;
mod formula;
mod kernel;
mod rate;
mod rules;
mod segment;

pub use accumulate::Accumulate;
pub use bias_correction::BiasCorrection;
pub use formula::{Formula, Rates, RuleDef};
pub use kernel::UpdateKernel;
pub use rules::*;
pub use segment::{MAX_SEGMENTS, Segment};

pub(super) use rate::{STEP, check as check_rate};
pub(super) use segment::{BLOCK, blocks, check, gradient, params};

use super::{Launch, OpDef, Shader, View, ViewMut};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use formula::MAX_TENSORS;
use rayon::prelude::*;

/// `[g, lr: 1×1×1×1, (correction)]`, states `[p, …]`, each `1×1×1×len`: one step of the rule for every segment of
/// `p`, with the sum of the segment's partial gradients in `g`. A `correction` is there where the rule has averages
/// to correct, of one number for each.
/// For lr may stand `[lr, unscale]`, the step of [`super::Rescale`]: gradients are multiplied by `unscale`, and where
/// that is 0 nothing is updated.
#[derive(Clone, PartialEq, Debug)]
pub struct Update {
    /// The step.
    pub rule: Rule,
    /// The parameters, at most [`MAX_SEGMENTS`] and in the order of their places in `p`.
    pub segments: Vec<Segment>,
    /// Elements of `p`.
    pub len: usize,
}

/// What one task changes: a block of a segment in all tensors.
struct Block<'a> {
    segment: &'a Segment,
    number: usize,
    tensors: [&'a mut [f32]; MAX_TENSORS],
}

/// Cuts the tensors, `len` elements each, into the blocks of the segments, which are in order.
fn cut<'a>(segments: &'a [Segment], mut tensors: [&'a mut [f32]; MAX_TENSORS]) -> Vec<Block<'a>> {
    // A tensor that the rule does not have is empty, and so are its blocks.
    fn take<'a>(tensor: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
        let len = len.min(tensor.len());
        tensor.split_off_mut(..len).expect("not more than there is")
    }
    let mut blocks = Vec::new();
    let mut at = 0;
    for segment in segments {
        for tensor in &mut tensors {
            take(tensor, segment.p - at);
        }
        for number in 0..segment.blocks() {
            let len = BLOCK.min(segment.len - number * BLOCK);
            blocks.push(Block {
                segment,
                number,
                tensors: tensors.each_mut().map(|tensor| take(tensor, len)),
            });
        }
        at = segment.p + segment.len;
    }
    blocks
}

impl OpDef for Update {
    fn name(&self) -> &'static str {
        self.rule.def().formula().name
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let formula = self.rule.def().formula();
        let count = if formula.averages > 0 { 3 } else { 2 };
        ensure!(
            inputs.len() == count,
            "takes {count} inputs, not {}",
            inputs.len()
        );
        segment::check(&self.segments, inputs[0], self.len)?;
        let places = self.segments.windows(2);
        ensure!(
            places.clone().all(|s| s[0].p + s[0].len <= s[1].p),
            "the segments are not in the order of their places"
        );
        rate::check(inputs[1])?;
        if let Some(&correction) = inputs.get(2) {
            let wanted = TensorDesc::f32(Shape::channels(formula.averages));
            ensure!(
                correction == wanted,
                "correction {correction} is not {wanted}"
            );
        }
        let desc = TensorDesc::f32(Shape::channels(self.len));
        Ok(vec![desc; formula.tensors().len()])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (g, Some([lr, unscale])) = (inputs[0].f32(), rate::read(inputs[1])) else {
            return;
        };
        let correction = inputs.get(2).map_or(&[][..], |view| view.f32());
        let rule = self.rule.def();
        let mut tensors: [&mut [f32]; MAX_TENSORS] = Default::default();
        for (tensor, output) in tensors.iter_mut().zip(outputs) {
            *tensor = output.f32();
        }
        cut(&self.segments, tensors)
            .into_par_iter()
            .for_each(|block| {
                let s = block.segment;
                let mut g = segment::gradient(s, g, block.number);
                g.iter_mut().for_each(|g| *g *= unscale);
                let rates = Rates {
                    lr: lr * s.lr_scale,
                    weight_decay: s.weight_decay,
                    correction,
                };
                rule.step(&rates, &g[..block.tensors[0].len()], block.tensors);
            });
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let rule = self.rule.def();
        let params = params(&self.segments, inputs[1] == STEP, &rule.constants());
        let shader = Shader::Update(UpdateKernel::Step(rule.formula()));
        Launch::new(shader, "step", params, blocks(&self.segments))
    }

    fn flops(&self, _: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        let flops = self.rule.def().formula().flops;
        let of_segment = |s: &Segment| (s.partials + flops) * s.len;
        self.segments.iter().map(of_segment).sum::<usize>() as u64
    }

    fn bytes(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        // Only the segments are touched, and the states in them are read and written.
        let elements = |s: &Segment| (s.partials + 2 * outputs.len()) * s.len;
        4 * self.segments.iter().map(elements).sum::<usize>() as u64
    }
}
