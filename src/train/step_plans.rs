//! The graph and the plans of a session, before anything is allocated.
use super::batching::Batching;
use super::feed::{DataTensors, Feed};
use super::info::WeightsInfo;
use super::micro;
use super::optim::{Optimizer, OptimizerState};
use super::step_graph::{StepGraph, accumulate, evaluate, train, update};
use crate::backend::memory_needed;
use crate::config::TrainConfig;
use crate::data::{Augmentation, ImageSource, Preprocess, Split};
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
    /// Where the images are that steps take.
    pub feed: Feed,
    /// What happens to training images at random, if anything.
    pub augmentation: Option<Augmentation>,
    /// Whether evaluations may see their images changed: see [`super::Session::set_view`].
    pub views: bool,
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
            feed: Feed::Resident,
            augmentation: None,
            views: false,
            fuse: config.hardware.fuse,
            stored: config.hardware.precision.stored(),
            tilings: config.tilings.clone(),
        }
    }

    /// How the examples of training steps, or of evaluations, are batched.
    pub fn batching(&self, trains: bool) -> Batching {
        Batching {
            size: self.batch_size,
            limit: self.limit_batches,
            joins: trains && joins(&self.arch, self.preprocess.size),
        }
    }

    /// The splits of a data set that the session takes examples from.
    pub(super) fn splits(&self, source: &dyn ImageSource) -> Vec<Split> {
        let taken = |split: &Split| match split {
            Split::Train => self.optimizer.is_some(),
            Split::Validation | Split::Test => true,
        };
        let there = |split: &Split| source.len(*split) > 0;
        Split::ALL.into_iter().filter(taken).filter(there).collect()
    }
}

/// Whether a single example cannot be trained on: the last stage of the network has one pixel of it, whose variance
/// BatchNorm would need.
pub(super) fn joins(arch: &Arch, size: usize) -> bool {
    arch.last_side(size) == 1
}

/// What a plan computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// A training step: gradients and the update.
    Train,
    /// A micro-batch of a training step, whose gradients are added to those before it.
    Accumulate,
    /// An evaluation.
    Evaluate,
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
    /// The sizes of the batches of each split.
    batches: Vec<(Split, usize)>,
}

/// A step on one size of batch, or a pass of one.
pub(super) struct Step {
    pub(super) program: Program,
    pub(super) split: Split,
    pub(super) pass: StepGraph,
    pub(super) plan: Plan,
}

impl StepPlans {
    /// Builds and plans every step that the data set needs. Nothing is allocated.
    ///
    /// # Errors
    /// When the network does not fit the images or a step the device's binding limit.
    pub fn new(spec: &SessionSpec, source: &dyn ImageSource, limits: Limits) -> Result<StepPlans> {
        let SessionSpec {
            arch,
            micro_batch,
            preprocess,
            optimizer,
            feed,
            augmentation,
            views,
            fuse: fused,
            stored,
            tilings,
            batch_size: _,
            limit_batches: _,
        } = spec;
        let mut graph = Graph::default();
        let mut passes: Vec<(Program, Split, StepGraph)> = Vec::new();
        let mut all_batches = Vec::new();
        let (from, channels) = (source.info().size, source.info().channels);
        for split in spec.splits(source) {
            let optimizer = optimizer.filter(|_| split == Split::Train);
            let (name, count) = (split.name(), source.len(split));
            let data = |g: &mut Graph, batch| DataTensors {
                stored: *stored,
                augmented: match optimizer {
                    Some(_) => augmentation.is_some(),
                    None => *views,
                },
                ..match feed {
                    Feed::Resident => {
                        DataTensors::resident(g, name, count, from, channels, preprocess)
                    }
                    Feed::Streamed => DataTensors::staged(g, batch, from, channels, preprocess),
                }
            };
            let mut done = BTreeSet::new();
            let batching = spec.batching(optimizer.is_some());
            for of in BTreeSet::from_iter(batching.sizes(count)) {
                all_batches.push((split, of));
                let sizes = micro::sizes(of, *micro_batch);
                ensure!(
                    sizes.len() <= LOSS_LOG_CAPACITY,
                    "--micro-batch {}: a batch of {of} would need {} micro-batches, but a step has at most \
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
                    let data = data(&mut graph, batch);
                    let (program, pass) = match (optimizer, of) {
                        (Some(optimizer), Some(of)) if of > batch => (
                            Program::Accumulate,
                            accumulate(&mut graph, arch, &data, [batch, of], optimizer)?,
                        ),
                        (Some(optimizer), _) => (
                            Program::Train,
                            train(&mut graph, arch, &data, batch, optimizer)?,
                        ),
                        (None, _) => (Program::Evaluate, evaluate(&mut graph, arch, &data, batch)?),
                    };
                    passes.push((program, split, pass));
                }
            }
        }
        let whole = passes
            .iter()
            .find(|(.., pass)| !pass.optimizer_state.is_empty());
        let mut optimizer_state =
            whole.map_or(Vec::new(), |(.., pass)| pass.optimizer_state.clone());
        let micro = passes
            .iter()
            .find(|(program, ..)| *program == Program::Accumulate);
        let update = match (micro, optimizer) {
            (Some((.., pass)), Some(optimizer)) => {
                let update = update(&mut graph, pass, *optimizer)?;
                optimizer_state = update.optimizer_state;
                Some(update.nodes)
            }
            _ => None,
        };
        let rewrite = if *fused { fuse } else { retile };
        for (.., pass) in &mut passes {
            let keep = [pass.network.logits];
            pass.nodes = rewrite(&mut graph, pass.nodes.clone(), &keep, tilings)?;
        }
        let update = update.map(|nodes| plan(&graph, nodes, &[], limits));
        let step = |(program, split, pass): (Program, Split, StepGraph)| -> Result<Step> {
            let plan = plan(&graph, pass.nodes.clone(), &[pass.network.logits], limits)?;
            Ok(Step {
                program,
                split,
                pass,
                plan,
            })
        };
        let mut steps = passes.into_iter().map(step).collect::<Result<Vec<_>>>()?;
        steps.sort_by_key(|step| Reverse(step.plan.pool_bytes()));
        Ok(StepPlans {
            graph,
            steps,
            update: update.transpose()?,
            optimizer_state,
            batches: all_batches,
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
    pub fn plan(&self, program: Program) -> Option<&Plan> {
        self.runs(program).first().copied()
    }

    /// The plans that a full batch runs to be trained on or evaluated, in order.
    pub fn runs(&self, program: Program) -> Vec<&Plan> {
        let passes = self.passes(program);
        let updated = program != Program::Evaluate && passes.len() > 1;
        let update = self.update.iter().filter(|_| updated);
        let plans = passes.into_iter().map(|step| &step.plan);
        plans.chain(update).collect()
    }

    /// The passes over a full batch that is trained on or evaluated, in order.
    pub(super) fn passes(&self, program: Program) -> Vec<&Step> {
        let evaluated = program == Program::Evaluate;
        let batches = self.batches.iter();
        let batches = batches.filter(|(split, _)| (*split != Split::Train) == evaluated);
        // A batch that another example has joined is not the usual one.
        let usual = |batch: usize| (batch <= self.spec.batch_size, batch);
        let Some(&(split, full)) = batches.max_by_key(|(_, batch)| usual(*batch)) else {
            return Vec::new();
        };
        let pass = |&batch: &usize| {
            let of = if evaluated { batch } else { full };
            let is = |s: &&Step| s.split == split && (s.pass.batch, s.pass.of) == (batch, of);
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
