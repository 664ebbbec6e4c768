//! The pass rules of whole networks.
use super::shake::{Shake, is_shaken};
use crate::model::Param;
use crate::verify::{
    golden::Tensors,
    judge::{Check, Rule, widen},
    manifest::NetworkEntry,
    replay::{Output, Outputs},
};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// How many times PyTorch's own error is granted: devices sum in other orders, contract products and sums, and have
/// functions of their own.
const FACTOR: f64 = 8.0;

/// The relative error that any result may have.
const LEAST: f64 = 1e-4;

/// The most that is granted where the manifest has one figure for all gradients: it is that of the worst, and an error
/// of 1e-3 is to be noticed in each.
const MOST: f64 = 5e-4;

/// The same for gradients that are zero but for rounding, as parts of the weight's.
const MOST_OF_ZERO: f64 = 1e-3;

/// How many times the change is granted that [`Shake`] measures. It is the largest of a few, by chance.
const COARSE_FACTOR: f64 = 4.0;

/// The losses of a run, of which element `s` is that of step `s`.
pub const LOSSES: &str = "losses.want";

/// What the results of a network are judged by.
pub struct Judge<'a> {
    pub entry: &'a NetworkEntry,
    pub tensors: &'a Tensors<'a>,
    pub params: &'a [Param],
    /// What the gradients were multiplied by.
    pub scale: f32,
    /// The unit roundoff of what is coarser than f32; 0 for nothing.
    pub roundoff: f64,
    /// How far coarser arithmetic may move each result; see [`super::noise::noise`].
    pub coarse: BTreeMap<String, f64>,
}

impl Judge<'_> {
    /// Every result against what is wanted, as `tests/golden/README.md` says.
    ///
    /// # Errors
    /// When a wanted tensor is missing or has other dimensions.
    pub fn judge(&self, outputs: &Outputs) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for (name, output) in outputs.iter().filter(|(name, _)| !is_shaken(name)) {
            let got = self.since_start(name, output, None)?;
            let want = self.want(name, output)?;
            let rule = self.rule(name, &want)?;
            if let Some(bound) = self.largest_logit_error(name, &want.values) {
                checks.push(Check::new(name, &got, &want.values, Rule::MaxAbs(bound)));
            }
            checks.push(Check::new(name, &got, &want.values, rule));
        }
        Ok(checks)
    }

    /// What decides whether a result passes.
    fn rule(&self, name: &str, want: &Wanted) -> Result<Rule> {
        let length = want.values.iter().map(|v| v * v).sum::<f64>().sqrt();
        if self.is_zero(name) {
            let allowed = self.zero_gradient(name)?;
            let (group, _) = group_and_param(name);
            return Ok(Rule::MaxAbs(match group {
                "grad" => allowed,
                _ => f64::from(self.entry.lr) * allowed + want.largest_spacing,
            }));
        }
        if length == 0.0 {
            return Ok(Rule::MaxAbs(want.largest_spacing));
        }
        let torch = &self.entry.torch;
        let granted = match torch.noise.get(name) {
            Some(noise) => (FACTOR * noise).max(LEAST),
            None if name.starts_with("losses") => LEAST,
            None => (FACTOR * torch.grad_worst_rel_l2).clamp(LEAST, MOST),
        };
        Ok(Rule::RelL2(
            granted + self.coarse(name) + want.spacing / length,
        ))
    }

    /// The largest error that logits may have, where the manifest knows PyTorch's.
    fn largest_logit_error(&self, name: &str, want: &[f64]) -> Option<f64> {
        let torch = &self.entry.torch;
        let largest = match name {
            "logits" => torch.logits_max_abs,
            "eval_logits_after20" => torch
                .eval_logits_after20_max_abs
                .unwrap_or(torch.logits_max_abs),
            _ => return None,
        };
        // What moves all logits by a part of their length may move a single one by several times as much.
        let length = want.iter().map(|v| v * v).sum::<f64>().sqrt();
        Some(FACTOR * largest + self.coarse(name) * length)
    }

    /// What is granted to coarser arithmetic.
    fn coarse(&self, name: &str) -> f64 {
        COARSE_FACTOR * self.coarse.get(name).copied().unwrap_or(0.0)
    }

    /// A result: of what a step changes its change, of gradients without their scale. `shake` is how the weights that
    /// the step began with were changed.
    ///
    /// # Errors
    /// When the file does not have those weights.
    pub fn since_start(
        &self,
        name: &str,
        output: &Output,
        shake: Option<Shake>,
    ) -> Result<Vec<f64>> {
        let (group, param) = group_and_param(name);
        let scale = if group == "grad" { self.scale } else { 1.0 };
        let mut values = output.to_torch();
        values.iter_mut().for_each(|v| *v /= f64::from(scale));
        if let Some(start) = start(group) {
            let mut start = self.tensors.f32(&format!("{start}/{param}"))?.data;
            let number = self.params.iter().position(|p| p.name == param);
            if let (Some(shake), Some(number)) = (shake, number)
                && self.params[number].trainable()
            {
                shake.apply(number, &mut start);
            }
            ensure!(start.len() == values.len(), "{name} has another size");
            for (value, start) in values.iter_mut().zip(start) {
                *value -= f64::from(start);
            }
        }
        Ok(values)
    }

    fn want(&self, name: &str, output: &Output) -> Result<Wanted> {
        if let Some(step) = name.strip_prefix("losses[") {
            let losses = self.tensors.f64(LOSSES)?.data;
            let step = step.trim_end_matches(']').parse::<usize>()?;
            let loss = losses.get(step);
            let loss = *loss.with_context(|| format!("{LOSSES} has no element {step}"))?;
            return Ok(Wanted::exact(vec![loss]));
        }
        let full = format!("{name}.want");
        let want = self.tensors.f32(&full)?;
        ensure!(
            output.fits(&want),
            "{full} in {} is {:?}, which is not {} in NHWC",
            self.entry.file,
            want.shape,
            output.shape
        );
        let (group, param) = group_and_param(name);
        let Some(start) = start(group) else {
            return Ok(Wanted::exact(widen(&want.data)));
        };
        let start = self.tensors.f32(&format!("{start}/{param}"))?;
        Ok(Wanted::change(&start.data, &want.data))
    }

    /// The wanted result as the device gives it: of what a step changes its change, of gradients their scaled ones.
    #[cfg(test)]
    pub fn direction(&self, name: &str, output: &Output) -> crate::verify::golden::Array<f64> {
        let (group, _) = group_and_param(name);
        let scale = if group == "grad" { self.scale } else { 1.0 };
        let mut data = self.want(name, output).unwrap().values;
        data.iter_mut().for_each(|v| *v *= f64::from(scale));
        let in_file = self.tensors.f32(&format!("{name}.want"));
        let shape = in_file.map_or(vec![1], |array| array.shape);
        crate::verify::golden::Array { shape, data }
    }

    /// Whether a result is a gradient or an update that only rounding keeps from zero.
    pub fn is_zero(&self, name: &str) -> bool {
        let (group, param) = group_and_param(name);
        let of_param = group == "grad" || start(group).is_some();
        of_param && self.entry.zero_gradient_names.iter().any(|n| n == param)
    }

    /// What the gradient of a bias may be that only rounding keeps from zero: it is a sum over as
    /// many terms as that of its layer's weight, and that is what it is measured by.
    fn zero_gradient(&self, name: &str) -> Result<f64> {
        let (_, bias) = group_and_param(name);
        let name = format!("grad/{bias}");
        let layer = bias.rsplit_once('.').map_or(bias, |(layer, _)| layer);
        let weight = self.tensors.f32(&format!("grad/{layer}.weight.want"))?;
        let largest = weight.data.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let largest = f64::from(largest);
        let granted = match self.entry.torch.noise.get(&name) {
            Some(noise) => (FACTOR * noise).max(LEAST * largest),
            None => MOST_OF_ZERO * largest,
        };
        // Changed weights leave such a sum at zero, but its rounded terms do not: 0.9 roundoffs were measured at most.
        Ok(granted + self.coarse(&name) + FACTOR * self.roundoff * largest)
    }
}

/// A wanted result.
struct Wanted {
    /// The result, or its change.
    values: Vec<f64>,
    /// The distance to the next number in f32, of the numbers that a change is between, as a length: a change is no more
    /// exact than that.
    spacing: f64,
    /// The largest of these distances.
    largest_spacing: f64,
}

impl Wanted {
    fn exact(values: Vec<f64>) -> Wanted {
        Wanted {
            values,
            spacing: 0.0,
            largest_spacing: 0.0,
        }
    }

    fn change(start: &[f32], end: &[f32]) -> Wanted {
        let pairs = || start.iter().zip(end);
        let spacings = || {
            let larger = pairs().map(|(start, end)| start.abs().max(end.abs()));
            larger.map(|v| f64::from(v.next_up()) - f64::from(v))
        };
        Wanted {
            values: pairs()
                .map(|(start, end)| f64::from(*end) - f64::from(*start))
                .collect(),
            spacing: spacings().map(|s| s * s).sum::<f64>().sqrt(),
            largest_spacing: spacings().fold(0.0, f64::max),
        }
    }
}

fn group_and_param(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

/// The group of the weights that a step begins with whose end is called `group`.
fn start(group: &str) -> Option<&'static str> {
    match group {
        "after1" => Some("init"),
        "after5" => Some("ckpt4"),
        _ => None,
    }
}
