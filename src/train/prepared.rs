//! The graph and the plans of a session, before anything is allocated.
use super::info::WeightsInfo;
use super::micro;
use super::optim::{Optimizer, OptimizerState};
use super::pass::{Source, StepGraph, accumulate, evaluate, train, update};
use crate::backend::memory_needed;
use crate::config::TrainConfig;
use crate::data::{Dataset, Images, Preprocess};
use crate::graph::{Graph, fuse, retile};
use crate::model::Arch;
use crate::ops::LOSS_LOG_CAPACITY;
use crate::ops::tuning::TuningTable;
use crate::plan::{Limits, Plan, plan};
use crate::tensor::DType;
use anyhow::{Result, ensure};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// The network.
    pub arch: Arch,
    /// Examples per step; the last step of an epoch may have fewer.
    pub batch_size: usize,
    /// Examples per pass of a step, which then has several where its batch is larger: their gradients are
    /// added up in order, and one update follows. `None` takes the whole batch at once.
    pub micro_batch: Option<usize>,
    /// What happens to an image before the network sees it.
    pub preprocess: Preprocess,
    /// The most steps per epoch and per evaluation.
    pub limit_batches: Option<usize>,
    /// `None` only evaluates.
    pub optimizer: Option<Optimizer>,
    /// Whether the steps are fused, see [`fuse`].
    pub fuse: bool,
    /// What activations and their gradients are stored as, f32, f16 or bfloat16.
    pub stored: DType,
    /// How convolutions are cut that were tuned; the others are cut by their shapes.
    pub tilings: TuningTable,
}

impl SessionSpec {
    /// The evaluation of a network as a run's settings say, in no micro-batches yet.
    pub fn evaluating(config: &TrainConfig, info: &WeightsInfo) -> SessionSpec {
        SessionSpec {
            arch: info.arch.clone(),
            batch_size: config.batch.batch_size,
            micro_batch: None,
            preprocess: info.preprocess.clone(),
            limit_batches: config.limit.limit_batches,
            optimizer: None,
            fuse: config.hardware.fuse,
            stored: config.hardware.precision.stored(),
            tilings: config.tilings.clone(),
        }
    }
}

/// Which half of the data set a step takes its examples from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Training steps, with updates.
    Train,
    /// Evaluation steps on the test images.
    Test,
}

/// The graph and the plans of a session, before anything is allocated.
pub struct StepPlans {
    pub(super) spec: SessionSpec,
    pub(super) graph: Graph,
    /// The pass that needs most memory first.
    pub(super) steps: Vec<Step>,
    /// The update that ends a step of several passes.
    pub(super) update: Option<Plan>,
    /// The optimiser's states with the names they have in a checkpoint.
    pub(super) optimizer_state: OptimizerState,
    /// The sizes of the batches of an epoch and of a test.
    batches: Vec<(Part, usize)>,
    pub(super) sources: Vec<(Part, Source)>,
}

/// A step on one size of batch, or a pass of one.
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) pass: StepGraph,
    pub(super) plan: Plan,
}

impl StepPlans {
    /// Builds and plans every step that the data set needs. Nothing is allocated.
    ///
    /// # Errors
    /// When the network does not fit the images or a step the device's binding limit.
    pub fn new(spec: &SessionSpec, data: &Dataset, limits: Limits) -> Result<StepPlans> {
        let SessionSpec {
            arch,
            batch_size,
            micro_batch,
            preprocess,
            limit_batches,
            optimizer,
            fuse: fused,
            stored,
            tilings,
        } = spec;
        let mut graph = Graph::default();
        let mut passes: Vec<(Part, StepGraph)> = Vec::new();
        let mut all_batches = Vec::new();
        let mut sources = Vec::new();
        for (part, images) in [(Part::Train, &data.train), (Part::Test, &data.test)] {
            let optimizer = match (part, optimizer) {
                (Part::Train, None) => continue,
                (Part::Train, Some(optimizer)) => Some(*optimizer),
                (Part::Test, _) => None,
            };
            let name = if part == Part::Train { "train" } else { "test" };
            let Images { size, channels, .. } = *images;
            let source = Source {
                stored: *stored,
                ..Source::new(
                    &mut graph,
                    name,
                    images.count,
                    size,
                    channels,
                    preprocess.size,
                )
            };
            sources.push((part, source));
            let mut done = BTreeSet::new();
            for of in batch_sizes(images.count, *batch_size, *limit_batches) {
                all_batches.push((part, of));
                let sizes = micro::sizes(of, *micro_batch);
                ensure!(
                    sizes.len() <= LOSS_LOG_CAPACITY,
                    "--micro-batch {}: a batch of {of} would take {} passes, but a step has at most \
                     {LOSS_LOG_CAPACITY}",
                    sizes[0],
                    sizes.len()
                );
                for &batch in &sizes {
                    // An evaluation treats every example alone, whatever step it is for.
                    let of = optimizer.map(|_| of);
                    if !done.insert((batch, of)) {
                        continue;
                    }
                    let pass = match (optimizer, of) {
                        (Some(_), Some(of)) if of > batch => {
                            accumulate(&mut graph, arch, &source, batch, of)
                        }
                        (Some(optimizer), _) => train(&mut graph, arch, &source, batch, optimizer),
                        (None, _) => evaluate(&mut graph, arch, &source, batch),
                    }?;
                    passes.push((part, pass));
                }
            }
        }
        let whole = passes
            .iter()
            .find(|(_, pass)| !pass.optimizer_state.is_empty());
        let mut optimizer_state =
            whole.map_or(Vec::new(), |(_, pass)| pass.optimizer_state.clone());
        let micro = passes.iter().find(|(_, pass)| pass.of > pass.batch);
        let update = match (micro, optimizer) {
            (Some((_, pass)), Some(optimizer)) => {
                let update = update(&mut graph, pass, *optimizer)?;
                optimizer_state = update.optimizer_state;
                Some(update.nodes)
            }
            _ => None,
        };
        let rewrite = if *fused { fuse } else { retile };
        for (_, pass) in &mut passes {
            let keep = [pass.network.logits];
            pass.nodes = rewrite(&mut graph, pass.nodes.clone(), &keep, tilings)?;
        }
        let update = update.map(|nodes| plan(&graph, nodes, &[], limits));
        let step = |(part, pass): (Part, StepGraph)| -> Result<Step> {
            let plan = plan(&graph, pass.nodes.clone(), &[pass.network.logits], limits)?;
            Ok(Step { part, pass, plan })
        };
        let mut steps = passes.into_iter().map(step).collect::<Result<Vec<_>>>()?;
        steps.sort_by_key(|step| Reverse(step.plan.pool_bytes()));
        Ok(StepPlans {
            graph,
            steps,
            update: update.transpose()?,
            optimizer_state,
            batches: all_batches,
            sources,
            spec: spec.clone(),
        })
    }

    /// What the session is to do.
    pub fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    /// Bytes that the session will allocate on the device.
    pub fn memory(&self) -> u64 {
        memory_needed(self.plans())
    }

    /// Bytes of the largest buffer that the session will allocate.
    pub fn largest_buffer(&self) -> u64 {
        let buffers = |plan: &'_ Plan| plan.slots.iter().chain(plan.owned.values()).max().copied();
        self.plans().filter_map(buffers).max().unwrap_or(0) as u64
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> {
        let passes = self.steps.iter().map(|step| &step.plan);
        passes.chain(&self.update)
    }

    /// The plan of a full batch's step, or of its first pass.
    pub fn plan(&self, part: Part) -> Option<&Plan> {
        self.runs(part).first().copied()
    }

    /// The plans that a full batch runs, in order.
    pub fn runs(&self, part: Part) -> Vec<&Plan> {
        let passes = self.passes(part);
        let updated = part == Part::Train && passes.len() > 1;
        let update = self.update.iter().filter(|_| updated);
        let plans = passes.into_iter().map(|step| &step.plan);
        plans.chain(update).collect()
    }

    /// The passes over a full batch, in order.
    pub(super) fn passes(&self, part: Part) -> Vec<&Step> {
        let of_part = self.batches.iter().filter(|(p, _)| *p == part);
        let Some(&(_, full)) = of_part.max_by_key(|(_, batch)| *batch) else {
            return Vec::new();
        };
        let pass = |&batch: &usize| {
            let of = if part == Part::Train { full } else { batch };
            let is = |s: &&Step| s.part == part && (s.pass.batch, s.pass.of) == (batch, of);
            self.steps.iter().find(is)
        };
        let sizes = micro::sizes(full, self.spec.micro_batch);
        sizes.iter().filter_map(pass).collect()
    }

    /// The graph that the plans are of.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}

/// The batches of an epoch over `order`.
pub(super) fn batches(
    order: &[u32],
    batch: usize,
    limit: Option<usize>,
) -> impl Iterator<Item = &[u32]> {
    order.chunks(batch).take(limit.unwrap_or(usize::MAX))
}

/// The different sizes of the batches of an epoch: the full one and perhaps a remainder.
fn batch_sizes(count: usize, batch: usize, limit: Option<usize>) -> BTreeSet<usize> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut sizes = BTreeSet::new();
    if count >= batch && limit > 0 {
        sizes.insert(batch);
    }
    if !count.is_multiple_of(batch) && limit > count / batch {
        sizes.insert(count % batch);
    }
    sizes
}
