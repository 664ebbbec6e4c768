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

/// `[logits: N×1×1×C, labels: N×1×1×1, (weights: 1×1×1×C), (scaling)] → [losses: N×1×1×1, correct: N×1×1×1, (dlogits)]`.
///
/// `loss = −Σ_c weight_c · target_c · log softmax(logits)_c` with `target = (1 − a)·onehot(label) + a/C`, all weights
/// being 1 where there are none; a class of no share in it adds nothing, even where its logit is −∞. And
/// `correct` is 1 where the first of the largest logits is the label's, else 0. Labels are less
/// than C. See <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>.
#[derive(Clone, PartialEq, Debug)]
pub struct CrossEntropy {
    /// The `a` above, the part of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// Whether classes have weights.
    pub weighted: bool,
    /// The weight that every example's loss has in what is minimised; with it the gradient `dlogits`
    /// of [`CrossEntropyGrad`] is made too, times the first of `scaling`, the state of [`super::Rescale`].
    pub grad: Option<f32>,
}

/// `[logits, labels, (weights), dlosses: N×1×1×1] → [dlogits]`: `(softmax · Σ target − target) · dlosses`, each class's
/// target being times its weight.
#[derive(Clone, PartialEq, Debug)]
pub struct CrossEntropyGrad {
    /// As in the forward pass.
    pub label_smoothing: f32,
    /// As in the forward pass.
    pub weighted: bool,
}

impl Graph {
    /// `[losses, correct]` of each example, by the weights of the classes if they have some; see [`CrossEntropy`].
    ///
    /// # Errors
    /// When the logits are not `[N, 1, 1, C]`, the labels not `[N, 1, 1, 1]` or the weights not `[1, 1, 1, C]`.
    pub fn cross_entropy(
        &mut self,
        logits: TensorId,
        labels: TensorId,
        weights: Option<TensorId>,
        label_smoothing: f32,
    ) -> Result<[TensorId; 2]> {
        let op = CrossEntropy {
            label_smoothing,
            weighted: weights.is_some(),
            grad: None,
        };
        let inputs: Vec<TensorId> = [logits, labels].into_iter().chain(weights).collect();
        let outputs = self.push(op, &inputs)?;
        Ok([outputs[0], outputs[1]])
    }
}

impl OpDef for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let (logits, labels, rest) = of_examples(inputs, self.weighted)?;
        match (rest, self.grad) {
            ([], _) => {}
            ([scaling], Some(_)) => ensure!(*scaling == SCALING, "{scaling} is not {SCALING}"),
            _ => bail!("{} input(s) too many", rest.len()),
        }
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
            return Ok(vec![None; node.inputs.len()]);
        };
        let op = CrossEntropyGrad {
            label_smoothing: self.label_smoothing,
            weighted: self.weighted,
        };
        let inputs = [&node.inputs[..], &[dlosses]].concat();
        let mut gradients = vec![None; node.inputs.len()];
        gradients[0] = Some(g.push1(op, &inputs)?);
        Ok(gradients)
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (logits, labels) = (inputs[0].f32(), inputs[1].u32());
        let classes = inputs[0].shape().c();
        let target = Target::new(
            self.label_smoothing,
            self.weighted.then(|| inputs[2].f32()),
            classes,
        );
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
                *loss = target.sum(label) * sum.ln() - target.of_label(label) * (x[label] - max);
                if self.label_smoothing > 0.0 {
                    let shifted: f32 = match target.weights {
                        None => x.iter().map(|x| x - max).sum(),
                        // Not by a product with zero: it is NaN where a logit is infinite.
                        Some(weights) => {
                            let counted =
                                x.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
                            counted.map(|(x, weight)| weight * (x - max)).sum()
                        }
                    };
                    *loss -= target.spread * shifted;
                }
                *correct = u32::from(largest == label);
            });
        if let (Some(weight), [dlogits]) = (self.grad, dlogits) {
            let scaling = inputs.get(2 + usize::from(self.weighted));
            let scale = scaling.map_or(1.0, |scaling| scaling.f32()[0]);
            let weight = |_| weight * scale;
            grad_logits(logits, labels, weight, target, dlogits);
        }
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let scaled = inputs.len() > 2 + usize::from(self.weighted);
        let entry = match (self.grad, scaled, self.weighted) {
            (None, _, false) => "forward",
            (None, _, true) => "forward_weighted",
            (Some(_), false, false) => "forward_grad",
            (Some(_), false, true) => "forward_grad_weighted",
            (Some(_), true, false) => "forward_grad_scaled",
            (Some(_), true, true) => "forward_grad_weighted_scaled",
        };
        let weight = self.grad.unwrap_or(0.0);
        per_example(entry, inputs[0].shape, self.label_smoothing, weight)
    }

    fn batched(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Option<Batched> {
        let rows = [1; 3];
        let read = [1, 1, 0, 0];
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
        let (logits, labels, rest) = of_examples(inputs, self.weighted)?;
        let [dlosses] = arity(rest)?;
        let examples = examples(logits, labels)?;
        ensure!(
            dlosses == TensorDesc::f32(examples),
            "gradient {dlosses} of the losses does not fit logits {logits}"
        );
        Ok(vec![logits])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (logits, labels) = (inputs[0].f32(), inputs[1].u32());
        let dlosses = inputs[inputs.len() - 1].f32();
        let weight = |example: usize| dlosses[example];
        let classes = inputs[0].shape().c();
        let weights = self.weighted.then(|| inputs[2].f32());
        let target = Target::new(self.label_smoothing, weights, classes);
        grad_logits(logits, labels, weight, target, &mut outputs[0]);
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let entry = match self.weighted {
            false => "grad_input",
            true => "grad_input_weighted",
        };
        per_example(entry, inputs[0].shape, self.label_smoothing, 0.0)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let read: &[usize] = match self.weighted {
            false => &[1, 1, 1],
            true => &[1, 1, 0, 1],
        };
        Batched::images(inputs[0].shape.n(), read, &[1])
    }
}

/// What the softmax of an example is to be like, in terms of its label.
#[derive(Clone, Copy)]
struct Target<'w> {
    /// What the label has more than other classes.
    onehot: f32,
    /// What every class has.
    spread: f32,
    /// What both are multiplied by.
    weights: Option<&'w [f32]>,
    /// The sum of the weights, that of an unweighted target being such that its sum is 1.
    all: f32,
}

impl<'w> Target<'w> {
    fn new(label_smoothing: f32, weights: Option<&'w [f32]>, classes: usize) -> Target<'w> {
        Target {
            onehot: 1.0 - label_smoothing,
            spread: label_smoothing / classes as f32,
            weights,
            all: weights.map_or(0.0, |weights| weights.iter().sum()),
        }
    }

    fn weight(self, class: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[class])
    }

    /// What the label has more than other classes would in its place.
    fn of_label(self, label: usize) -> f32 {
        self.weight(label) * self.onehot
    }

    /// What all classes have together: 1, to the bit, where classes have no weights.
    fn sum(self, label: usize) -> f32 {
        match self.weights {
            None => 1.0,
            Some(_) => self.of_label(label) + self.spread * self.all,
        }
    }
}

/// `(softmax · Σ target − target) · weight` of every example.
fn grad_logits(
    logits: &[f32],
    labels: &[u32],
    weight: impl Fn(usize) -> f32 + Sync,
    target: Target,
    dlogits: &mut ViewMut,
) {
    let classes = dlogits.shape().c();
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
            let label = label as usize;
            let all = target.sum(label);
            for (class, (dx, x)) in dx.iter_mut().zip(x).enumerate() {
                let onehot = f32::from(class == label);
                let wanted = target.weight(class) * (target.onehot * onehot + target.spread);
                *dx = ((x - max).exp() / sum * all - wanted) * weight(example);
            }
        });
}

/// Logits and labels, and what follows the weights of the classes, which must be one for each.
fn of_examples(
    inputs: &[TensorDesc],
    weighted: bool,
) -> Result<(TensorDesc, TensorDesc, &[TensorDesc])> {
    let [logits, labels, rest @ ..] = inputs else {
        bail!("takes logits and labels, not {} input(s)", inputs.len())
    };
    let rest = match (weighted, rest) {
        (false, rest) => rest,
        (true, [weights, rest @ ..]) => {
            let wanted = TensorDesc::f32(Shape::channels(logits.shape.c()));
            ensure!(
                *weights == wanted,
                "{weights} is not a weight for each class, {wanted}"
            );
            rest
        }
        (true, []) => bail!("there are no weights of the classes"),
    };
    Ok((*logits, *labels, rest))
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
