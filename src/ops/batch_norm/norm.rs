//! What BatchNorm comes to for each channel, `norm: f32 [1, 1, 4, c]` of rows scale, shift, mean and
//! rstd = 1/√(var + eps), with scale = gamma·rstd and shift = beta − mean·scale: from the moments of a
//! batch, which also move the running statistics, or from the running statistics.
use super::reduction::{FINISH_CHANNELS, per_channel};
use crate::kernels::{CpuContext, MOMENTS, Norm};
use crate::ops::wgsl::wgsl;
use crate::ops::{Launch, OpDef, Shader, View, ViewMut};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, bail, ensure};

const SHADER: Shader = Shader::Plain(wgsl!("norm"));

/// `[partials: blocks × 1 × 4 × c, gamma, beta, (b)] → [norm]`, updates `[running_mean, running_var]`.
///
/// The blocks' [`MOMENTS`] are merged by the rule of Chan, Golub and LeVeque (1979), relative to the first
/// block's pivot; blocks of no rows are passed over. The variance that normalises is the
/// biased one; `r ← (1 − momentum)·r + momentum·s` takes the mean and the unbiased one.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormFinish {
    /// Added to the variance.
    pub eps: f32,
    /// Weight of the new batch in the running statistics.
    pub momentum: f32,
    /// Whether a bias `b` of the convolution before was left out of the batch: it moves nothing but
    /// the mean, and is added to the one that goes into the running mean.
    pub bias: bool,
}

/// `[running_mean, running_var, gamma, beta, (b)] → [norm]`, for evaluation.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormFold {
    /// Added to the variance.
    pub eps: f32,
    /// Whether a bias `b` of the convolution before was left out: it is taken off the mean.
    pub bias: bool,
}

/// Writes the rows of channel `ch`.
fn write_row(norm: &mut [f32], ch: usize, mean: f32, rstd: f32, gamma: f32, beta: f32) {
    let c = norm.len() / 4;
    let scale = gamma * rstd;
    let rows = [scale, beta - mean * scale, mean, rstd];
    for (row, value) in rows.into_iter().enumerate() {
        norm[row * c + ch] = value;
    }
}

/// Checks the inputs that have one number per channel, the last of them the bias if there is one.
fn check_channels(inputs: &[TensorDesc], count: usize, bias: bool) -> Result<TensorDesc> {
    let count = count + usize::from(bias);
    ensure!(inputs.len() == count, "takes {count}, not {}", inputs.len());
    per_channel(inputs[0], inputs)?;
    Ok(inputs[0])
}

impl OpDef for BatchNormFinish {
    fn name(&self) -> &'static str {
        "batch_norm_finish"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let Some((partials, channels)) = inputs.split_first() else {
            bail!("takes partials")
        };
        let gamma = check_channels(channels, 2, self.bias)?;
        let c = gamma.shape.c();
        ensure!(
            *partials == TensorDesc::f32(Shape([partials.shape.n(), 1, MOMENTS, c])),
            "{partials} is not count, pivot, mean and M2 per block of {c} channels"
        );
        Ok(vec![Norm::desc(c), gamma, gamma])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (partials, gamma, beta) = (inputs[0].f32(), inputs[1].f32(), inputs[2].f32());
        let c = gamma.len();
        let [norm, running_mean, running_var] = outputs else {
            unreachable!("norm and two states are inferred")
        };
        let (norm, running_mean, running_var) = (norm.f32(), running_mean.f32(), running_var.f32());
        for ch in 0..c {
            let blocks = || {
                let blocks = partials[ch..].chunks(MOMENTS * c);
                let blocks = blocks.map(|b| [0, 1, 2, 3].map(|row| b[row * c]));
                blocks.filter(|[rows, ..]| *rows > 0.0)
            };
            let first = blocks().next().map_or(f32::NAN, |[_, pivot, ..]| pivot);
            let (mut count, mut shift) = (0.0, 0.0);
            for [rows, pivot, mean, _] in blocks() {
                count += rows;
                shift += ((pivot - first) + mean) * rows;
            }
            shift /= count;
            let mut squares = 0.0;
            for [rows, pivot, mean, m2] in blocks() {
                let d = ((pivot - first) + mean) - shift;
                squares += m2 + d * d * rows;
            }
            let mean = first + shift;
            let rstd = 1.0 / (squares / count + self.eps).sqrt();
            write_row(norm, ch, mean, rstd, gamma[ch], beta[ch]);
            let b = if self.bias { inputs[3].f32()[ch] } else { 0.0 };
            let follow = |r: &mut f32, s: f32| {
                *r = (1.0 - self.momentum) * *r + self.momentum * s;
            };
            follow(&mut running_mean[ch], mean + b);
            follow(&mut running_var[ch], squares / (count - 1.0));
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let Shape([blocks, _, _, c]) = inputs[0].shape;
        let params = vec![
            c as u32,
            blocks as u32,
            self.eps.to_bits(),
            self.momentum.to_bits(),
        ];
        let entry = if self.bias { "finish_biased" } else { "finish" };
        Launch::new(SHADER, entry, params, c.div_ceil(FINISH_CHANNELS))
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        3 * inputs[0].shape.len() as u64
    }
}

impl OpDef for BatchNormFold {
    fn name(&self) -> &'static str {
        "batch_norm_fold"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let channels = check_channels(inputs, 4, self.bias)?;
        Ok(vec![Norm::desc(channels.shape.c())])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let [mean, var, gamma, beta] = [0, 1, 2, 3].map(|i| inputs[i].f32());
        for ch in 0..mean.len() {
            let b = if self.bias { inputs[4].f32()[ch] } else { 0.0 };
            let rstd = 1.0 / (var[ch] + self.eps).sqrt();
            write_row(
                outputs[0].f32(),
                ch,
                mean[ch] - b,
                rstd,
                gamma[ch],
                beta[ch],
            );
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let entry = if self.bias { "fold_biased" } else { "fold" };
        // The same uniform block as the finish's, of which this uses the first and third word.
        let c = inputs[0].shape.c();
        let params = vec![c as u32, 0, self.eps.to_bits(), 0];
        Launch::new(SHADER, entry, params, c.div_ceil(256))
    }
}
