//! The pass rules of whole networks.
use crate::model::Param;
use crate::tensor::DType;
use crate::verify::{
    golden::Tensors,
    judge::{Check, Rule, roundoff, widen},
    manifest::NetworkEntry,
    replay::{Output, Outputs},
};
use anyhow::{Context, Result, ensure};

/// Relative error that losses, running statistics and, at least, gradients and updates may have.
const RELATIVE: f64 = 1e-4;

/// A bound that is no nearer than this part of the wanted tensor's length says nothing.
const VAGUE: f64 = 0.5;

/// The losses of a run, of which element `s` is that of step `s`.
pub const LOSSES: &str = "losses.want";

/// What the results of a network are judged by.
pub struct Judge<'a> {
    pub entry: &'a NetworkEntry,
    pub tensors: &'a Tensors<'a>,
    pub params: &'a [Param],
    /// What the gradients were multiplied by.
    pub scale: f32,
}

impl Judge<'_> {
    /// Every result against what is wanted, as `tests/golden/README.md` says.
    ///
    /// # Errors
    /// When a wanted tensor is missing or has other dimensions.
    pub fn judge(&self, outputs: &Outputs) -> Result<Vec<Check>> {
        let torch = &self.entry.torch;
        let gradient = Rule::RelL2((8.0 * torch.grad_worst_rel_l2).max(RELATIVE));
        let eval = torch.eval_logits_after20_max_abs;
        let mut checks = Vec::new();
        for (name, output) in outputs {
            let (group, param) = name.split_once('/').unwrap_or((name, ""));
            let rule = match group {
                "logits" => Rule::MaxAbs(8.0 * torch.logits_max_abs),
                "eval_logits_after20" => Rule::MaxAbs(8.0 * eval.unwrap_or(torch.logits_max_abs)),
                "act" => gradient,
                "grad" if self.entry.zero_gradient_names.iter().any(|n| n == param) => {
                    Rule::MaxAbs(self.zero_gradient(param)?)
                }
                "grad" => gradient,
                _ if self.is_statistic(param) => Rule::RelL2(RELATIVE),
                // Losses and the parameters of a step are judged below.
                _ => continue,
            };
            let (mut got, want) = (output.to_torch(), self.want(name, output)?);
            if group == "grad" {
                got.iter_mut().for_each(|v| *v /= f64::from(self.scale));
            }
            checks.push(Check::new(name, &got, &want, rule));
        }
        let update = &torch.update_rel_l2;
        checks.extend(self.update("init", "after1", update.step1, outputs)?);
        checks.extend(self.update("ckpt4", "after5", update.step5_from_ckpt4, outputs)?);
        for step in [0, 4] {
            if let Some(loss) = outputs.get(&format!("losses[{step}]")) {
                let want = self.tensors.f64(LOSSES)?.data;
                let want = want.get(step);
                let want = want.with_context(|| format!("{LOSSES} has no element {step}"))?;
                let (name, rule) = (format!("losses[{step}]"), Rule::RelL2(RELATIVE));
                checks.push(Check::new(name, &loss.to_torch(), &[*want], rule));
            }
        }
        Ok(checks)
    }

    /// The change of all parameters together, from the group `from` to the group `to`.
    fn update(&self, from: &str, to: &str, torch: f64, outputs: &Outputs) -> Result<Option<Check>> {
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for p in self.params.iter().filter(|p| p.trainable()) {
            let name = format!("{to}/{}", p.name);
            let Some(output) = outputs.get(&name) else {
                continue;
            };
            let start = widen(&self.tensors.f32(&format!("{from}/{}", p.name))?.data);
            let since = |(end, start): (f64, &f64)| end - start;
            got.extend(output.to_torch().into_iter().zip(&start).map(since));
            want.extend(self.want(&name, output)?.into_iter().zip(&start).map(since));
        }
        let rule = Rule::RelL2((8.0 * torch).max(RELATIVE));
        let name = format!("update from {from}");
        Ok((!got.is_empty()).then(|| Check::new(name, &got, &want, rule)))
    }

    fn want(&self, name: &str, output: &Output) -> Result<Vec<f64>> {
        let name = format!("{name}.want");
        let want = self.tensors.f32(&name)?;
        ensure!(
            output.fits(&want),
            "{name} in {} is {:?}, which is not {} in NHWC",
            self.entry.file,
            want.shape,
            output.shape
        );
        Ok(widen(&want.data))
    }

    fn is_statistic(&self, name: &str) -> bool {
        let statistic = |p: &Param| p.name == name && !p.trainable();
        self.params.iter().any(statistic)
    }

    /// What the gradient of a bias may be that only rounding keeps from zero: it is a sum over as
    /// many terms as that of its layer's weight, and that is what it is measured by.
    fn zero_gradient(&self, bias: &str) -> Result<f64> {
        let layer = bias.rsplit_once('.').map_or(bias, |(layer, _)| layer);
        let weight = self.tensors.f32(&format!("grad/{layer}.weight.want"))?;
        let largest = weight.data.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        Ok(RELATIVE * f64::from(largest))
    }
}

/// Those of the results with images of f16 or bfloat16 that can be judged, beside the same results in f32.
///
/// All that is rounded so is rounded in f32 too, so its error is f32's times the ratio of their unit roundoffs at most,
/// and 8 times that is granted, as to f32 beside PyTorch. It does not hold for gradients: where a ReLU sees another
/// sign, which happens to 2⁻¹⁰ of its values in f16 and to 2⁻⁷ in bfloat16, a whole gradient comes or goes, and in a
/// network of few channels that is much of it. Theirs must be finite, and the cases of the ops judge how they are
/// computed.
///
/// # Errors
/// When a result is not finite.
pub fn in_half(dtype: DType, single: &[Check], half: Vec<Check>) -> Result<Vec<Check>> {
    let [of_f32, of_half] = [DType::F32, dtype].map(roundoff);
    let mut checks = Vec::new();
    for (single, half) in single.iter().zip(half) {
        let Check { tensor, .. } = &half;
        ensure!(half.rel_l2.is_finite(), "{tensor} in {dtype} is not finite");
        let bound = 8.0 * single.rel_l2.max(of_f32) * of_half / of_f32;
        let of_gradients = ["grad/", "update "]
            .iter()
            .any(|word| tensor.starts_with(word));
        if !of_gradients && bound < VAGUE {
            checks.push(Check {
                tensor: format!("{tensor} in {dtype}"),
                rule: Rule::RelL2(bound),
                ..half
            });
        }
    }
    Ok(checks)
}
