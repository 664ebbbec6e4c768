//! One training step and one evaluation step as ranges of nodes: data, network, loss, gradients, update.
//! A step of micro-batches has its gradients and its update in ranges of their own.
use super::feed::DataTensors;
use super::optim::{self, Controls, Optimizer, OptimizerState};
use crate::graph::{Gradients, Graph, TensorId, backward};
use crate::model::{Arch, Mode, Network, build};
use crate::ops::{AUGMENTATION_WORDS, Fill, GatherImages, LossLogStates, SCALING};
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::Result;
use std::ops::Range;

/// A step in the graph.
#[derive(Clone, Debug)]
pub struct StepGraph {
    /// Its nodes.
    pub nodes: Range<usize>,
    /// Examples that it takes.
    pub batch: usize,
    /// Examples of the whole step, more than `batch` where this is one of its micro-batches.
    pub of: usize,
    /// Input u32 `[batch, 1, 1, 1]`: which images of `data` to take.
    pub indices: TensorId,
    /// What it takes its images and labels from.
    pub data: DataTensors,
    /// Input u32 `[batch, 1, 1, 9]`, where images are augmented: see [`crate::ops::GatherImages`].
    pub augmentation: Option<TensorId>,
    /// The network on this batch.
    pub network: Network,
    /// f32 `[batch, 1, 1, 1]`, the loss of each example.
    pub losses: TensorId,
    /// Where the device writes the mean loss and the number of right answers.
    pub log: LossLogStates,
    /// Gradients of the mean loss, times the scale if there is one; empty for an evaluation.
    pub gradients: Gradients,
    /// The optimiser's states with the names they have in a checkpoint.
    pub optimizer_state: OptimizerState,
    /// In a micro-batch the sums of gradients that it adds to.
    pub sums: Gradients,
    /// Where gradients are stored as f16 the state of their scale, one of the above: see [`crate::ops::Rescale`].
    pub scaling: Option<TensorId>,
}

/// The state that holds the weights of the classes, f32 `[1, 1, 1, classes]`, where training steps have them.
pub const CLASS_WEIGHTS: &str = "class_weights";

/// The input that holds the learning rate, f32 `[1, 1, 1, 1]`.
pub fn learning_rate(g: &mut Graph) -> TensorId {
    g.input("lr", TensorDesc::f32(Shape::channels(1)))
}

/// Appends an evaluation of `batch` examples.
///
/// # Errors
/// When the images are too small for the network.
pub fn evaluate(g: &mut Graph, arch: &Arch, data: &DataTensors, batch: usize) -> Result<StepGraph> {
    forward(g, arch, data, batch, None)
}

/// Appends a training step on `batch` examples: the gradient of their mean loss, and the update. Where
/// gradients are stored as f16 the loss is scaled.
///
/// # Errors
/// When the images are too small for the network.
pub fn train(
    g: &mut Graph,
    arch: &Arch,
    data: &DataTensors,
    batch: usize,
    optimizer: Optimizer,
) -> Result<StepGraph> {
    let mut pass = forward(g, arch, data, batch, Some(optimizer))?;
    differentiate(g, &mut pass)?;
    pass.optimizer_state = follow(g, &pass, &pass.gradients, optimizer)?;
    pass.nodes.end = g.nodes().len();
    Ok(pass)
}

/// Appends the part of a training step on `of` examples that `batch` of them take: the gradient of the
/// whole step's mean loss that comes from them, added in f32 to that of the micro-batches before. [`update`]
/// ends the step. BatchNorm takes the statistics of these examples and moves its running ones by them.
/// Where gradients are stored as f16 the sums are scaled as they are: all passes of a step read one scale.
///
/// # Errors
/// When the images are too small for the network.
pub fn accumulate(
    g: &mut Graph,
    arch: &Arch,
    data: &DataTensors,
    [batch, of]: [usize; 2],
    optimizer: Optimizer,
) -> Result<StepGraph> {
    let mut pass = forward(g, arch, data, batch, Some(optimizer))?;
    pass.of = of;
    differentiate(g, &mut pass)?;
    let trained = optimizer.trained(&pass.network.params);
    pass.sums = optim::accumulate(g, &trained, &pass.gradients)?;
    pass.nodes.end = g.nodes().len();
    Ok(pass)
}

/// The update at the end of a step of micro-batches.
#[derive(Clone, Debug)]
pub struct Update {
    /// Its nodes.
    pub nodes: Range<usize>,
    /// The optimiser's states with the names they have in a checkpoint.
    pub optimizer_state: OptimizerState,
}

/// Appends the update by the sums that [`accumulate`] left in the passes of a step, `pass` being one of them;
/// they begin at zero again. A scale is decided on here, once a step: an overflow in any pass left a sum that
/// is not finite, as no number added to an infinity or to a NaN makes it finite again.
///
/// # Errors
/// Never for a pass that was accumulated.
pub fn update(g: &mut Graph, pass: &StepGraph, optimizer: Optimizer) -> Result<Update> {
    let start = g.nodes().len();
    let optimizer_state = follow(g, pass, &pass.sums, optimizer)?;
    optim::clear(g, &pass.sums)?;
    Ok(Update {
        nodes: start..g.nodes().len(),
        optimizer_state,
    })
}

/// Appends the backward pass: every example's loss counts one part of the whole step's, times the scale.
fn differentiate(g: &mut Graph, pass: &mut StepGraph) -> Result<()> {
    let share = Fill {
        value: 1.0 / pass.of as f32,
        shape: Shape::examples(pass.batch),
    };
    let seed = g.push1(share, pass.scaling.as_slice())?;
    pass.gradients = backward(g, pass.nodes.clone(), &[(pass.losses, seed)])?;
    Ok(())
}

/// Appends the updates of all parameters by their gradients, which are times the scale of the pass if it has one.
fn follow(
    g: &mut Graph,
    pass: &StepGraph,
    gradients: &Gradients,
    optimizer: Optimizer,
) -> Result<OptimizerState> {
    let controls = Controls {
        lr: learning_rate(g),
        scaling: pass.scaling,
        clip: optimizer.clip,
    };
    let groups = optimizer.groups(&pass.network.params);
    let mut state = optim::append(g, optimizer.rule, &groups, gradients, controls)?;
    if let Some(ema) = optimizer.ema {
        let averaged = optimizer.averaged(&pass.network.params);
        state.extend(optim::average(g, ema, &averaged, controls)?);
    }
    Ok(state)
}

/// The network and its loss on a batch: to be trained by the optimizer, or to be evaluated.
fn forward(
    g: &mut Graph,
    arch: &Arch,
    data: &DataTensors,
    batch: usize,
    optimizer: Option<Optimizer>,
) -> Result<StepGraph> {
    let start = g.nodes().len();
    let mode = optimizer.map_or(Mode::Eval, |optimizer| Mode::Train(optimizer.frozen));
    let label_smoothing = optimizer.map_or(0.0, |optimizer| optimizer.label_smoothing);
    let indices = g.input(
        &format!("indices.{batch}"),
        TensorDesc::u32(Shape::examples(batch)),
    );
    let augmentation = data.augmented.then(|| {
        let words = TensorDesc::u32(Shape([batch, 1, 1, AUGMENTATION_WORDS]));
        g.input(&format!("augmentation.{batch}"), words)
    });
    let DataTensors {
        images,
        labels,
        taps,
        size,
        normalise,
        stored,
        ..
    } = *data;
    let gather = GatherImages {
        size,
        stored,
        normalise,
        augmented: augmentation.is_some(),
        shard: None,
    };
    let taken = [images, indices, taps].into_iter().chain(augmentation);
    let x = g.push1(gather, &taken.collect::<Vec<_>>())?;
    let labels = g.gather_labels(labels, indices)?;
    let network = build(g, arch, x, mode)?;
    let balanced = optimizer.is_some_and(|optimizer| optimizer.balanced);
    let weights = TensorDesc::f32(Shape::channels(arch.classes));
    let weights = balanced.then(|| g.state(CLASS_WEIGHTS, weights));
    let [losses, correct] = g.cross_entropy(network.logits, labels, weights, label_smoothing)?;
    let log = g.log_loss(losses, correct)?;
    let scaled = mode != Mode::Eval && stored == DType::F16;
    let scaling = scaled.then(|| g.state("loss_scale", SCALING));
    Ok(StepGraph {
        nodes: start..g.nodes().len(),
        batch,
        of: batch,
        indices,
        data: *data,
        augmentation,
        network,
        losses,
        log,
        gradients: Gradients::new(),
        optimizer_state: OptimizerState::new(),
        sums: Gradients::new(),
        scaling,
    })
}
