//! What the residual blocks of a trained network do with the test images: how large a branch is beside its shortcut,
//! what a ReLU makes zero, and how large the gradient is that reaches the block's input.
use super::feed::{DataTensors, Feed};
use super::feeder::Feeder;
use super::memory::largest;
use super::step_graph::{StepGraph, evaluate};
use super::step_plans::SessionSpec;
use crate::backend::{Backend, memory_needed};
use crate::config::{FeedName, MicroBatch};
use crate::data::ImageSource;
use crate::graph::{Graph, TensorId, backward};
use crate::model::Residual;
use crate::ops::Fill;
use crate::plan::{Limits, Plan, mib, plan};
use crate::process::ensure_free;
use crate::tensor::Shape;
use anyhow::{Result, bail, ensure};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was measured, all of it in evaluation: BatchNorm takes its running statistics.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Probed {
    /// Images.
    pub examples: u64,
    /// Their mean loss.
    pub loss: f64,
    /// The residual blocks in order of execution.
    pub blocks: Vec<BlockProbe>,
}

/// What was measured of the residual block `F(x) + x`. Norms are Euclidean, over the elements of all images together.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlockProbe {
    /// PyTorch's name, such as `layer2.0`.
    pub block: String,
    /// Whether the shortcut is a projection of x, as it is where the shape changes.
    pub projects: bool,
    /// ‖F(x)‖ over the norm of the shortcut: over ‖x‖, or over that of its projection. 0 is the identity.
    pub ratio: f64,
    /// ‖F(x)‖.
    pub branch_norm: f64,
    /// ‖x‖, or the norm of its projection.
    pub shortcut_norm: f64,
    /// Share of the outputs of a ReLU that are zero, where it passes no gradient: of the one after the sum, or of the
    /// first one of a pre-activation block.
    pub zeroed: f64,
    /// Norm of the gradient of the mean loss of all images at x.
    pub gradient_norm: f64,
}

/// Measures every residual block of the network that `spec` evaluates, with these values of its parameters in their
/// order and our layout, on as many of the images that tell how good it is as its limit allows.
///
/// The steps are not fused and store f32 whatever `spec` says, so that each tensor exists, and with all its digits. A
/// pass takes the batch, or as many examples as `wanted` says; `auto` takes as many as fit. The numbers do not depend on
/// it, but for rounding. Tensors are read one by one and summed up in f64.
///
/// # Errors
/// When there are no such images, a pass does not fit the device, the device fails or images cannot be read.
pub fn probe(
    mut spec: SessionSpec,
    feed: FeedName,
    wanted: Option<MicroBatch>,
    values: &[Vec<f32>],
    source: Arc<dyn ImageSource>,
    backend: &mut dyn Backend,
) -> Result<Probed> {
    let split = source.evaluated();
    spec.feed = Feed::choose(feed, &*source, &[split], backend)?;
    let batch = spec.batch_size;
    let limit = spec.limit_batches.unwrap_or(usize::MAX);
    let images = source.len(split).min(limit.saturating_mul(batch));
    ensure!(
        images > 0,
        "{} has neither test nor validation images",
        source.info().name
    );
    let examples = examples(&spec, wanted, &*source, images, backend)?;
    let mut ready = Vec::new();
    for pass in passes(&spec, &*source, images, examples, backend.limits())? {
        let Pass {
            step,
            blocks,
            plan,
            largest,
        } = pass;
        ready.push((step, blocks, backend.compile(plan)?));
        // Before it is read, twice: as the device copies it, and as it is handed over.
        ensure_free(2 * largest as u64, "reading a tensor of the probe")?;
    }
    for (param, values) in ready[0].0.network.params.iter().zip(values) {
        backend.write(param.tensor, bytemuck::cast_slice(values))?;
    }
    let mut data: Vec<_> = ready.iter().map(|(step, ..)| (split, step.data)).collect();
    data.dedup_by_key(|(_, data)| data.images);
    let mut feeder = Feeder::open(source, &spec, &data, backend)?;

    let order: Vec<u32> = (0..images as u32).collect();
    let mut loss = 0.0;
    let mut sums = vec![Sums::default(); ready[0].1.len()];
    let mut todo = order.chunks(examples).peekable();
    while let Some(indices) = todo.next() {
        let is = |(step, ..): &&(StepGraph, _, _)| step.batch == indices.len();
        let Some((step, blocks, plan)) = ready.iter().find(is) else {
            unreachable!("every size is planned");
        };
        if let Some(next) = todo.peek() {
            feeder.prefetch(split, next)?;
        }
        feeder.write(backend, step, split, indices)?;
        backend.run(*plan)?;
        let mut read = |tensor| backend.read_value(*plan, tensor);
        loss += floats(&read(step.losses)?).sum::<f64>();
        for ((block, gradient), sums) in blocks.iter().zip(&mut sums) {
            sums.branch += squares(&read(block.branch)?);
            sums.shortcut += squares(&read(block.shortcut)?);
            sums.gradient += squares(&read(*gradient)?);
            let relu = read(block.relu)?;
            sums.zeros += floats(&relu).filter(|value| *value == 0.0).count() as u64;
            sums.outputs += floats(&relu).len() as u64;
        }
    }
    let blocks = ready[0].1.iter().zip(sums);
    Ok(Probed {
        examples: images as u64,
        loss: loss / images as f64,
        blocks: blocks
            .map(|((block, _), sums)| sums.of(block, images))
            .collect(),
    })
}

/// Sums of squares and counts over the elements of all images.
#[derive(Clone, Default)]
struct Sums {
    branch: f64,
    shortcut: f64,
    /// Of the gradients of the images' own losses.
    gradient: f64,
    zeros: u64,
    outputs: u64,
}

impl Sums {
    fn of(self, block: &Residual, images: usize) -> BlockProbe {
        let (branch, shortcut) = (self.branch.sqrt(), self.shortcut.sqrt());
        BlockProbe {
            block: block.name.clone(),
            projects: block.projects(),
            ratio: branch / shortcut,
            branch_norm: branch,
            shortcut_norm: shortcut,
            zeroed: self.zeros as f64 / self.outputs as f64,
            gradient_norm: self.gradient.sqrt() / images as f64,
        }
    }
}

fn floats(bytes: &[u8]) -> impl ExactSizeIterator<Item = f64> {
    let float = |bytes: &[u8; 4]| f64::from(f32::from_ne_bytes(*bytes));
    bytes.as_chunks().0.iter().map(float)
}

fn squares(bytes: &[u8]) -> f64 {
    floats(bytes).map(|value| value * value).sum()
}

/// A pass over some examples, before anything is allocated.
struct Pass {
    step: StepGraph,
    /// The blocks, each with the gradient at its input.
    blocks: Vec<(Residual, TensorId)>,
    plan: Plan,
    /// Bytes of the largest tensor that is read.
    largest: usize,
}

/// The passes that so many images take in passes of `examples`: full ones, and one for the rest. Those of one graph, the
/// largest first.
fn passes(
    spec: &SessionSpec,
    source: &dyn ImageSource,
    images: usize,
    examples: usize,
    limits: Limits,
) -> Result<Vec<Pass>> {
    let mut g = Graph::default();
    let (from, channels, preprocess) =
        (source.info().size, source.info().channels, &spec.preprocess);
    let sizes = BTreeSet::from([examples.min(images), images % examples]);
    let mut passes = Vec::new();
    for size in sizes.into_iter().rev().filter(|size| *size > 0) {
        let data = match spec.feed {
            Feed::Resident => {
                let split = source.evaluated();
                let count = source.len(split);
                DataTensors::resident(&mut g, split.name(), count, from, channels, preprocess)
            }
            Feed::Streamed => DataTensors::staged(&mut g, size, from, channels, preprocess),
        };
        let step = evaluate(&mut g, &spec.arch, &data, size)?;
        // Each example's own loss, as the mean's gradients are smaller by the number of all images.
        let ones = Fill {
            value: 1.0,
            shape: Shape::examples(size),
        };
        let seed = g.push1(ones, &[])?;
        let gradients = backward(&mut g, step.nodes.clone(), &[(step.losses, seed)])?;
        let blocks = step.network.residuals(&g).into_iter();
        let blocks: Vec<_> = blocks
            .map(|block| {
                let gradient = gradients[&block.input];
                (block, gradient)
            })
            .collect();
        let read = blocks
            .iter()
            .flat_map(|(block, gradient)| [block.branch, block.shortcut, block.relu, *gradient]);
        let keep: Vec<TensorId> = read.chain([step.losses]).collect();
        let plan = plan(&g, step.nodes.start..g.nodes().len(), &keep, limits)?;
        let largest = keep.iter().map(|t| g.desc(*t).bytes()).max();
        passes.push(Pass {
            step,
            blocks,
            plan,
            largest: largest.unwrap_or(0),
        });
    }
    Ok(passes)
}

/// How many examples a pass takes.
///
/// # Errors
/// When the device does not hold it, naming what it would hold.
fn examples(
    spec: &SessionSpec,
    wanted: Option<MicroBatch>,
    source: &dyn ImageSource,
    images: usize,
    backend: &dyn Backend,
) -> Result<usize> {
    let memory = backend.memory()?.unwrap_or(u64::MAX);
    let needed = |examples| -> Result<(u64, u64)> {
        let passes = passes(spec, source, images, examples, backend.limits())?;
        let plans: Vec<&Plan> = passes.iter().map(|pass| &pass.plan).collect();
        let buffers = plans
            .iter()
            .flat_map(|p| p.slots.iter().chain(p.owned.values()));
        let buffer = buffers.max().copied().unwrap_or(0) as u64;
        let needed = memory_needed(plans.iter().copied()) + backend.scratch(&plans);
        Ok((needed, buffer))
    };
    let fits = |examples| -> Result<bool> {
        let (needed, buffer) = needed(examples)?;
        Ok(needed <= memory && buffer <= backend.max_buffer())
    };
    let batch = spec.batch_size.min(images);
    let examples = match wanted {
        Some(MicroBatch::Examples(micro)) => micro.min(batch),
        Some(MicroBatch::Auto) | None => batch,
    };
    if fits(examples)? {
        return Ok(examples);
    }
    let fitting = largest(2..examples, fits)?;
    if let (Some(MicroBatch::Auto), Some(fitting)) = (wanted, fitting) {
        return Ok(fitting);
    }
    let (needed, buffer) = needed(examples)?;
    let device = backend.device();
    let (needs, has) = match needed > memory {
        true => (mib(needed), format!("has {}", mib(memory))),
        false => {
            let most = mib(backend.max_buffer());
            (
                format!("a buffer of {}", mib(buffer)),
                format!("allows {most}"),
            )
        }
    };
    let advice = match fitting {
        Some(fitting) => format!("--micro-batch {fitting} would fit"),
        None => "no micro-batch would fit; take another --device".to_string(),
    };
    bail!("a probe of {examples} images at once needs {needs}, but {device} {has}: {advice}")
}
