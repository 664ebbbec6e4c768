//! Softmax cross-entropy per example, from logits and class numbers, and its gradient.
//! The mean over the batch is not here: it is the `1/n` in the seed of the backward pass.
use super::wgsl::wgsl;
use super::{Batched, Launch, OpDef, SCALING, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

const SHADER: Shader = Shader::Plain(wgsl!("cross_entropy"));

/// Examples per task on the CPU.
const BLOCK: usize = 256;

/// `[logits: N×1×1×C, labels: N×1×1×1, (scaling)] → [losses: N×1×1×1, correct: N×1×1×1, (dlogits)]`.
///
/// `loss = −Σ_c target_c · log softmax(logits)_c` with `target = (1 − a)·onehot(label) + a/C`; a class of no
/// weight adds nothing, even where its logit is −∞. And
/// `correct` is 1 where the first of the largest logits is the label's, else 0. Labels are less
/// than C. See <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>.
#[derive(Clone, PartialEq, Debug)]
pub struct CrossEntropy {
    /// The `a` above, the part of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// The weight that every example's loss has in what is minimised; with it the gradient `dlogits`
    /// of [`CrossEntropyGrad`] is made too, times the first of `scaling`, the state of [`super::Rescale`].
    pub grad: Option<f32>,
}

/// `[logits, labels, dlosses: N×1×1×1] → [dlogits]`: `(softmax − target) · dlosses`.
#[derive(Clone, PartialEq, Debug)]
pub struct CrossEntropyGrad {
    /// As in the forward pass.
    pub label_smoothing: f32,
}

impl Graph {
    /// `[losses, correct]` of each example; see [`CrossEntropy`].
    ///
    /// # Errors
    /// When the logits are not `[N, 1, 1, C]` or the labels not `[N, 1, 1, 1]`.
    pub fn cross_entropy(
        &mut self,
        logits: TensorId,
        labels: TensorId,
        label_smoothing: f32,
    ) -> Result<[TensorId; 2]> {
        let op = CrossEntropy {
            label_smoothing,
            grad: None,
        };
        let outputs = self.push(op, &[logits, labels])?;
        Ok([outputs[0], outputs[1]])
    }
}

impl OpDef for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let (logits, labels) = match (inputs, self.grad) {
            (&[logits, labels], _) => (logits, labels),
            (&[logits, labels, scaling], Some(_)) => {
                ensure!(scaling == SCALING, "{scaling} is not {SCALING}");
                (logits, labels)
            }
            _ => bail!("takes 2 inputs, or 3 with a gradient, not {}", inputs.len()),
        };
        let examples = examples(logits, labels)?;
        let results = [TensorDesc::f32(examples), TensorDesc::u32(examples)];
        let dlogits = self.grad.map(|_| logits);
        Ok(results.into_iter().chain(dlogits).collect())
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dlosses) = dy[0] else {
            return Ok(vec![None, None]);
        };
        let op = CrossEntropyGrad {
            label_smoothing: self.label_smoothing,
        };
        let dlogits = g.push1(op, &[node.inputs[0], node.inputs[1], dlosses])?;
        Ok(vec![Some(dlogits), None])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (logits, labels) = (inputs[0].f32(), inputs[1].u32());
        let classes = inputs[0].shape().c();
        let (results, dlogits) = outputs.split_at_mut(2);
        let [losses, correct] = results else {
            unreachable!("two results are inferred");
        };
        losses
            .f32()
            .par_iter_mut()
            .zip(correct.u32())
            .zip(logits.par_chunks_exact(classes).zip(labels))
            .with_min_len(BLOCK)
            .for_each(|((loss, correct), (x, &label))| {
                let label = label as usize;
                let largest = first_largest(x);
                let max = x[largest];
                let sum: f32 = x.iter().map(|x| (x - max).exp()).sum();
                // The shifted logits keep their digits where the loss is small and the logits large.
                *loss = sum.ln() - (1.0 - self.label_smoothing) * (x[label] - max);
                if self.label_smoothing > 0.0 {
                    let shifted: f32 = x.iter().map(|x| x - max).sum();
                    *loss -= self.label_smoothing / classes as f32 * shifted;
                }
                *correct = u32::from(largest == label);
            });
        if let (Some(weight), [dlogits]) = (self.grad, dlogits) {
            let scale = inputs.get(2).map_or(1.0, |scaling| scaling.f32()[0]);
            let weight = |_| weight * scale;
            grad_logits(logits, labels, weight, self.label_smoothing, dlogits);
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let entry = match (self.grad, inputs.len()) {
            (None, _) => "forward",
            (Some(_), 2) => "forward_grad",
            (Some(_), _) => "forward_grad_scaled",
        };
        let weight = self.grad.unwrap_or(0.0);
        per_example(entry, inputs[0].shape, self.label_smoothing, weight)
    }

    fn batched(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let rows = [1; 3];
        let read = [1, 1, 0];
        Batched::images(
            inputs[0].shape.n(),
            &read[..inputs.len()],
            &rows[..outputs.len()],
        )
    }
}

impl OpDef for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [logits, labels, dlosses] = arity(inputs)?;
        let examples = examples(logits, labels)?;
        ensure!(
            dlosses == TensorDesc::f32(examples),
            "gradient {dlosses} of the losses does not fit logits {logits}"
        );
        Ok(vec![logits])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (logits, labels, dlosses) = (inputs[0].f32(), inputs[1].u32(), inputs[2].f32());
        let weight = |example: usize| dlosses[example];
        grad_logits(
            logits,
            labels,
            weight,
            self.label_smoothing,
            &mut outputs[0],
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        per_example("grad_input", inputs[0].shape, self.label_smoothing, 0.0)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 1, 1], &[1])
    }
}

/// `(softmax − target) · weight` of every example.
fn grad_logits(
    logits: &[f32],
    labels: &[u32],
    weight: impl Fn(usize) -> f32 + Sync,
    label_smoothing: f32,
    dlogits: &mut ViewMut,
) {
    let classes = dlogits.shape().c();
    let spread = label_smoothing / classes as f32;
    dlogits
        .f32()
        .par_chunks_exact_mut(classes)
        .zip(logits.par_chunks_exact(classes))
        .zip(labels)
        .enumerate()
        .with_min_len(BLOCK)
        .for_each(|(example, ((dx, x), &label))| {
            let max = x[first_largest(x)];
            let sum: f32 = x.iter().map(|x| (x - max).exp()).sum();
            for (class, (dx, x)) in dx.iter_mut().zip(x).enumerate() {
                let onehot = f32::from(class == label as usize);
                let target = (1.0 - label_smoothing) * onehot + spread;
                *dx = ((x - max).exp() / sum - target) * weight(example);
            }
        });
}

/// The shape of one number per example, if logits and labels belong together.
fn examples(logits: TensorDesc, labels: TensorDesc) -> Result<Shape> {
    let examples = Shape::examples(logits.shape.n());
    ensure!(
        logits == TensorDesc::f32(Shape([examples.n(), 1, 1, logits.shape.c()]))
            && !logits.shape.is_empty(),
        "logits {logits} are not f32[N×1×1×C]"
    );
    ensure!(
        labels == TensorDesc::u32(examples),
        "labels {labels} do not fit logits {logits}: one u32 per example is needed"
    );
    Ok(examples)
}

fn per_example(entry: &'static str, logits: Shape, label_smoothing: f32, weight: f32) -> Launch {
    let params = [
        logits.c() as u32,
        label_smoothing.to_bits(),
        weight.to_bits(),
    ];
    Launch::elements(SHADER, entry, logits.n(), &params)
}

/// Position of the first of the largest numbers. A NaN elsewhere than in front is passed over here
/// and reaches the loss through the sum of the exponentials.
fn first_largest(x: &[f32]) -> usize {
    let mut largest = 0;
    for (i, v) in x.iter().enumerate() {
        if *v > x[largest] {
            largest = i;
        }
    }
    largest
}
