//! The update of many parameters at once, which lie one after another in one state. The second stage
//! of the reductions that their gradients come from is done on the way.
use super::sgd::{check_step, step};
use super::wgsl::wgsl;
use super::{Launch, OpDef, Sgd, Shader, View, ViewMut, arity};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// Most segments of one bucket: the table of them lies in the kernel's uniform block, which stays within 16 KiB.
pub const MAX_SEGMENTS: usize = 511;

/// Elements per workgroup of the kernel, and per task on the CPU.
pub(super) const BLOCK: usize = 1024;

/// `[g, lr: 1×1×1×1 or 1×1×1×2]`, states `[p]` or `[p, m]` as in [`Sgd`]: its step for every segment of `p`, with
/// the sum of the segment's partial gradients in `g`.
#[derive(Clone, PartialEq, Debug)]
pub struct SgdBucket {
    /// The step.
    pub sgd: Sgd,
    /// The parameters, in the order of their places in `p`, at most [`MAX_SEGMENTS`].
    pub segments: Vec<Segment>,
    /// Elements of `p`.
    pub len: usize,
}

/// One parameter of a bucket. Places and lengths count elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its first element in `p` and in `m`.
    pub p: usize,
    /// Its elements.
    pub len: usize,
    /// The first element of its first partial gradient in `g`; the others follow.
    pub g: usize,
    /// Partial gradients to add up, from first to last; 0 where the gradient is zero.
    pub partials: usize,
}

impl Segment {
    /// Blocks of its elements.
    pub(super) fn groups(&self) -> usize {
        self.len.div_ceil(BLOCK)
    }
}

/// Blocks of all segments.
pub(super) fn groups(segments: &[Segment]) -> usize {
    segments.iter().map(Segment::groups).sum()
}

/// The kernels' uniform block: the table of the segments behind momentum, flags and weight decay.
pub(super) fn params(segments: &[Segment], settings: [u32; 3]) -> Vec<u32> {
    let mut params = vec![segments.len() as u32];
    params.extend(settings);
    let mut groups = 0;
    for s in segments {
        params.extend([groups, s.p, s.len, s.g, s.partials, 0, 0, 0].map(|v| v as u32));
        groups += s.groups();
    }
    // The uniform block has a fixed size.
    params.resize(4 + 8 * MAX_SEGMENTS, 0);
    params
}

impl OpDef for SgdBucket {
    fn name(&self) -> &'static str {
        "sgd_bucket"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [g, lr] = arity(inputs)?;
        ensure!(g == TensorDesc::f32(g.shape), "gradients {g} are not f32");
        check_step(lr)?;
        let count = self.segments.len();
        ensure!(count <= MAX_SEGMENTS, "{count} segments are too many");
        for s in &self.segments {
            ensure!(
                s.p + s.len <= self.len && s.g + s.partials * s.len <= g.shape.len(),
                "{s:?} is not inside the parameters and their gradients {g}"
            );
        }
        let states = if self.sgd.momentum > 0.0 { 2 } else { 1 };
        Ok(vec![TensorDesc::f32(Shape::channels(self.len)); states])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (g, Some(step)) = (inputs[0].f32(), step(inputs[1])) else {
            return;
        };
        let (p, rest) = outputs.split_first_mut().expect("one state or two");
        let p = p.f32();
        let mut none = [];
        let m = rest.first_mut().map_or(&mut none[..], |m| m.f32());
        for s in &self.segments {
            let p = p[s.p..s.p + s.len].par_chunks_mut(BLOCK);
            let sum = |block: usize, sum: &mut [f32; BLOCK], len: usize| {
                for part in 0..s.partials {
                    let g = &g[s.g + part * s.len + block * BLOCK..][..len];
                    sum.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
                }
            };
            if m.is_empty() {
                p.enumerate().for_each(|(block, p)| {
                    let mut d = [0.0; BLOCK];
                    sum(block, &mut d, p.len());
                    self.sgd.step(step, &d[..p.len()], p);
                });
            } else {
                let m = m[s.p..s.p + s.len].par_chunks_mut(BLOCK);
                p.zip(m).enumerate().for_each(|(block, (p, m))| {
                    let mut d = [0.0; BLOCK];
                    sum(block, &mut d, p.len());
                    self.sgd.step_momentum(step, &d[..p.len()], p, m);
                });
            }
        }
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let entry = if outputs.len() == 2 {
            "step_momentum"
        } else {
            "step"
        };
        let settings = [
            self.sgd.momentum.to_bits(),
            self.sgd.flags(inputs[1]),
            self.sgd.weight_decay.to_bits(),
        ];
        let (params, groups) = (params(&self.segments, settings), groups(&self.segments));
        Launch::new(Shader::Plain(wgsl!("sgd_bucket")), entry, params, groups)
    }

    fn flops(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        let per_element = |s: &Segment| s.partials + 2 * outputs.len() + 2;
        let flops = self.segments.iter().map(|s| per_element(s) * s.len);
        flops.sum::<usize>() as u64
    }

    fn bytes(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        // Only the segments are touched, and the states in them are read and written.
        let elements = |s: &Segment| (s.partials + 2 * outputs.len()) * s.len;
        4 * self.segments.iter().map(elements).sum::<usize>() as u64
    }
}
