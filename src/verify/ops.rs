//! Cases of single ops: each becomes a small graph with its gradient rules and is run like any other.
mod attrs;
mod build;
mod images;
mod optim;

use super::{
    golden::{Set, Tensors},
    judge::{Case, Check, Rule, roundoff, widen},
    manifest::{OpEntry, Want},
    replay::{self, Output, Outputs, Stage},
};
use crate::backend::Backend;
use crate::graph::Graph;
use crate::tensor::DType;
use anyhow::{Context, Result, ensure};
use images::{ImageStorage, has_images};

/// A case of one op, ready to run.
pub struct OpCase<'a> {
    entry: &'a OpEntry,
    tensors: Tensors<'a>,
    stages: Vec<Stage>,
    half: Option<Half>,
}

/// The same on images of f16 or bfloat16.
struct Half {
    /// Which of them.
    dtype: DType,
    /// Rounded to it, but in f32.
    rounded: Vec<Stage>,
    stored: Vec<Stage>,
}

impl<'a> OpCase<'a> {
    /// Appends the case to the graph, under names that begin with `scope`.
    ///
    /// # Errors
    /// When the op or an attribute is not known, or a tensor is missing or does not fit.
    pub fn build(
        g: &mut Graph,
        set: &'a Set,
        entry: &'a OpEntry,
        scope: &str,
        stored: DType,
    ) -> Result<OpCase<'a>> {
        let tensors = set.tensors(&entry.file)?;
        let mut stages = |part: &str, images| {
            g.set_scope(format!("{scope}{part}"));
            build::stages(g, entry, &tensors, images)
        };
        let half = match stored != DType::F32 && has_images(&entry.op) {
            true => Some(Half {
                dtype: stored,
                rounded: stages("rounded/", ImageStorage::Rounded(stored))?,
                stored: stages("stored/", ImageStorage::Stored(stored))?,
            }),
            false => None,
        };
        let stages = stages("", ImageStorage::Given)?;
        let reads = || stages.iter().flat_map(|s| &s.runs).flat_map(|r| &r.reads);
        for name in entry.wants.keys() {
            let read = reads().find(|read| read.name == *name).with_context(|| {
                format!("{name} is wanted, but cannot be computed from the given tensors")
            })?;
            // Known before anything runs: attributes that lie may ask for a result of any size.
            let (full, ours) = (want_name(entry, name), read.shape(g));
            let wanted = tensors.shape(&full)?;
            ensure!(
                read.layout.shape(&wanted).is_ok_and(|shape| shape == ours),
                "in {}: {full} does not have the dimensions of the result, {ours} in NHWC",
                entry.file
            );
        }
        Ok(OpCase {
            entry,
            tensors,
            stages,
            half,
        })
    }

    /// Runs and judges the case.
    pub fn run(&self, g: &mut Graph, backend: &mut dyn Backend, fuse: bool) -> Case {
        let OpEntry { op, case, .. } = self.entry;
        let factors = match op.as_str() {
            "conv2d" | "linear" => backend.factor_error(),
            _ => 0.0,
        };
        let play = |stages: &[Stage]| replay::play(g, backend, stages, fuse);
        match self.checks(factors, play) {
            Ok(checks) => Case::judged(case, op, checks),
            Err(why) => Case::refused(case, op, &why),
        }
    }

    fn checks(
        &self,
        factors: f64,
        mut play: impl FnMut(&[Stage]) -> Result<Outputs>,
    ) -> Result<Vec<Check>> {
        let given = play(&self.stages)?;
        let mut checks = self.judge(&given, factors)?;
        if let Some(half) = &self.half {
            let (rounded, stored) = (play(&half.rounded)?, play(&half.stored)?);
            checks.extend(self.judge_half(half.dtype, [&given, &rounded, &stored], factors)?);
        }
        Ok(checks)
    }

    /// An op passes when `max|got − want| ≤ 8·torch_max_abs + (1e-6 + 12·factors)·ref_max + 1e-7`, where each factor
    /// of a product was rounded by a relative `factors`. Over all cases of the golden set 9.4 times `factors` was
    /// measured at most, in a sum of five products that nearly cancels.
    fn judge(&self, outputs: &Outputs, factors: f64) -> Result<Vec<Check>> {
        let wants = self.entry.wants.iter();
        wants
            .map(|(name, bounds)| {
                let output = &outputs[name];
                let (got, want) = (output.to_torch(), self.want(name, output)?);
                let bound = match bounds.exact || output.is_u32() {
                    true => 0.0,
                    false => bound(bounds, &want, factors),
                };
                Ok(Check::new(name, &got, &want, Rule::MaxAbs(bound)))
            })
            .collect()
    }

    /// With images of f16 or bfloat16 an op gives what it gives in f32 for the images rounded so, but for the rounding
    /// of what it stores: at most two unit roundoffs of f16, as WGSL lets a conversion round either way, and one of
    /// bfloat16, which only the CPU stores, rounded to the nearest. So it is as far from the wanted values at most as
    /// that, what may be between f32 and them, and what the rounding of the given images makes of the result, in f32,
    /// taken together.
    ///
    /// Indices must be those in f32. The wanted ones they need not be, as numbers may be equal once they are rounded.
    fn judge_half(
        &self,
        dtype: DType,
        [given, rounded, stored]: [&Outputs; 3],
        factors: f64,
    ) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for (name, bounds) in &self.entry.wants {
            let stored = &stored[name];
            let [given, rounded, got] =
                [&given[name], &rounded[name], stored].map(Output::to_torch);
            let in_f32 = format!("{name} in {dtype} against f32");
            if stored.is_u32() {
                checks.push(Check::new(in_f32, &got, &rounded, Rule::MaxAbs(0.0)));
                continue;
            }
            let want = self.want(name, stored)?;
            let rounding = match stored.dtype() {
                DType::F16 => 2.0 * roundoff(DType::F16),
                DType::Bf16 => roundoff(DType::Bf16),
                _ => 0.0,
            };
            let rounding = rounding * largest(&rounded);
            let bound = bound(bounds, &want, factors) + rounding;
            checks.push(Check::new(in_f32, &got, &rounded, Rule::MaxAbs(bound)));
            let grown = Check::new(name, &rounded, &given, Rule::MaxAbs(0.0)).max_abs;
            let rule = Rule::MaxAbs(bound + grown);
            checks.push(Check::new(format!("{name} in {dtype}"), &got, &want, rule));
        }
        Ok(checks)
    }

    /// What a result should be, in PyTorch's order.
    fn want(&self, name: &str, output: &Output) -> Result<Vec<f64>> {
        let full = want_name(self.entry, name);
        let in_file = || format!("in {}", self.entry.file);
        Ok(match output.is_u32() {
            true => widen(&self.tensors.u32(&full).with_context(in_file)?.data),
            false => widen(&self.tensors.f32(&full).with_context(in_file)?.data),
        })
    }
}

/// The name of a wanted result in the file.
fn want_name(entry: &OpEntry, name: &str) -> String {
    format!("{}/{name}.want", entry.case)
}

/// See [`OpCase::judge`].
fn bound(bounds: &Want, want: &[f64], factors: f64) -> f64 {
    let ref_max = bounds.ref_max.unwrap_or_else(|| largest(want));
    8.0 * bounds.torch_max_abs + (1e-6 + 12.0 * factors) * ref_max + 1e-7
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a, v| a.max(v.abs()))
}
