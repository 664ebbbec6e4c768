//! A network on a device, ready to be stepped, with what feeds it its examples.
use super::feeder::Feeder;
use super::micro;
use super::optim::{OptimizerState, class_weights};
use super::progress::{StepResult, Sums};
use super::step_graph::{CLASS_WEIGHTS, StepGraph};
use super::step_plans::{Program, SessionSpec, StepPlans};
use crate::backend::{Backend, PlanId};
use crate::data::{ImageSource, Split};
use crate::graph::{Graph, TensorId};
use crate::model::Param;
use crate::ops::{Change, LOSS_LOG_CAPACITY, LossLogStates, first_scale};
use crate::tensor::Shape;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Steps queued at most before the losses are read, well inside the device's log.
pub const READ_AFTER: usize = 64;

/// A network on a device.
pub struct Session {
    backend: Box<dyn Backend>,
    graph: Graph,
    steps: Vec<CompiledStep>,
    update: Option<PlanId>,
    optimizer_state: OptimizerState,
    spec: SessionSpec,
    lr: Option<TensorId>,
    feeder: Feeder,
    /// The step of the latest evaluation.
    evaluated: Option<usize>,
    /// The steps since the last [`Session::results`], each with the examples of its passes.
    pending: Vec<Vec<usize>>,
}

/// A step, or a pass of one, that the device holds ready.
struct CompiledStep {
    program: Program,
    split: Split,
    pass: StepGraph,
    plan: PlanId,
}

impl Session {
    /// Allocates and compiles everything, and writes to the device what of the data set is to stay there.
    ///
    /// # Errors
    /// When the device fails, or images cannot be read.
    pub fn open(
        plans: StepPlans,
        source: Arc<dyn ImageSource>,
        mut backend: Box<dyn Backend>,
    ) -> Result<Session> {
        let StepPlans {
            graph,
            steps,
            update,
            optimizer_state,
            spec,
            ..
        } = plans;
        let mut ready = Vec::new();
        for step in steps {
            let plan = backend.compile(step.plan).context("preparing the device")?;
            ready.push(CompiledStep {
                program: step.program,
                split: step.split,
                pass: step.pass,
                plan,
            });
        }
        let update = match update {
            Some(plan) => Some(backend.compile(plan).context("preparing the device")?),
            None => None,
        };
        let data = ready.iter().map(|step| (step.split, step.pass.data));
        let data: BTreeMap<_, _> = data.map(|data| (data.1.images, data)).collect();
        let data: Vec<_> = data.into_values().collect();
        let feeder = Feeder::open(source, &spec, &data, backend.as_mut())?;
        let scaled = ready.iter().filter(|step| step.pass.scaling.is_some());
        if let Some(largest) = scaled.max_by_key(|step| step.pass.of)
            && let Some(scaling) = largest.pass.scaling
        {
            let scale = [first_scale(largest.pass.of), 0.0];
            backend.write(scaling, bytemuck::cast_slice(&scale))?;
        }
        if let Some(weights) = graph.find(CLASS_WEIGHTS) {
            let labels = feeder.source.labels(Split::Train);
            let values = class_weights(labels, graph.shape(weights).c());
            backend.write(weights, bytemuck::cast_slice(&values))?;
        }
        let lr = graph.find("lr");
        Ok(Session {
            backend,
            graph,
            steps: ready,
            update,
            optimizer_state,
            spec,
            lr,
            feeder,
            evaluated: None,
            pending: Vec::new(),
        })
    }

    /// The device.
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// What it does.
    pub fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    /// The graph of its steps.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The network's parameters, the same in every step.
    pub fn params(&self) -> &[Param] {
        &self.steps[0].pass.network.params
    }

    /// The optimiser's states with their names in a checkpoint.
    pub fn optimizer_state(&self) -> &[(String, TensorId)] {
        &self.optimizer_state
    }

    /// Our dimensions of a state.
    pub fn shape(&self, state: TensorId) -> Shape {
        self.graph.shape(state)
    }

    /// The elements of a parameter or another f32 state.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&mut self, state: TensorId) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.backend.read(state)?))
    }

    /// The name of a parameter with a value that is not finite, if there is one.
    ///
    /// # Errors
    /// When the device fails.
    pub fn not_finite(&mut self) -> Result<Option<String>> {
        for param in self.params().to_vec() {
            let values = self.read(param.tensor)?;
            if !values.iter().all(|value| value.is_finite()) {
                return Ok(Some(param.name));
            }
        }
        Ok(None)
    }

    /// Overwrites a parameter or another f32 state.
    ///
    /// # Errors
    /// When the sizes differ or the device fails.
    pub fn write(&mut self, state: TensorId, values: &[f32]) -> Result<()> {
        let name = &self.graph.tensor(state).name;
        self.backend
            .write(state, bytemuck::cast_slice(values))
            .with_context(|| name.clone())
    }

    /// Sets the learning rate of the training steps that follow.
    ///
    /// # Errors
    /// When the device fails.
    pub fn set_learning_rate(&mut self, lr: f32) -> Result<()> {
        let input = self.lr.context("this session does not train")?;
        self.backend.write(input, bytemuck::bytes_of(&lr))
    }

    /// The time in which steps have waited for their images so far, where these are streamed.
    pub fn waited(&self) -> Duration {
        self.feeder.waited
    }

    /// Number of images of a split.
    pub fn len(&self, split: Split) -> usize {
        self.feeder.source.len(split)
    }

    /// The class of each image of a split.
    pub fn labels(&self, split: Split) -> &[u32] {
        self.feeder.source.labels(split)
    }

    /// Sets the epoch, from 0, of the training steps that follow: their images are augmented by it.
    pub fn set_epoch(&mut self, epoch: usize) {
        self.feeder.epoch = epoch;
    }

    /// Has the evaluations that follow see their images so; [`SessionSpec::views`] prepares for it.
    pub fn set_view(&mut self, view: Change) {
        self.feeder.view = view;
    }

    /// Queues a training step on these examples. Its result comes from [`Session::results`].
    ///
    /// # Errors
    /// When the device fails, or the images cannot be read.
    pub fn train(&mut self, indices: &[u32]) -> Result<()> {
        self.run_each(Program::Train, Split::Train, indices, |backend, plan| {
            backend.run(plan)
        })
    }

    /// Queues an evaluation of these examples, of at most one pass. Its result comes from [`Session::results`].
    ///
    /// # Errors
    /// As for [`Session::train`].
    pub fn evaluate(&mut self, split: Split, indices: &[u32]) -> Result<()> {
        self.run_each(Program::Evaluate, split, indices, |backend, plan| {
            backend.run(plan)
        })
    }

    /// Has the images read that a coming step takes, where they must be read: while the steps before it compute.
    ///
    /// # Errors
    /// When nothing reads any more.
    pub fn prefetch(&mut self, program: Program, split: Split, indices: &[u32]) -> Result<()> {
        let mut passes = self.passes(program, indices).into_iter();
        passes.try_for_each(|pass| self.feeder.prefetch(split, pass))
    }

    /// The examples of each pass of a step.
    fn passes<'i>(&self, program: Program, indices: &'i [u32]) -> Vec<&'i [u32]> {
        match program {
            Program::Evaluate => vec![indices],
            Program::Train | Program::Accumulate => micro::passes(indices, self.spec.micro_batch),
        }
    }

    /// Whether the results must be read before another step, as the device's log might not hold it.
    pub fn is_full(&self) -> bool {
        let micro = self.spec.micro_batch;
        let passes = |step: &CompiledStep| micro::sizes(step.pass.of, micro).len();
        let most = self.steps.iter().map(passes).max().unwrap_or(1);
        self.logged() + most > LOSS_LOG_CAPACITY
    }

    /// Entries of the device's log since the last [`Session::results`].
    fn logged(&self) -> usize {
        self.pending.iter().map(Vec::len).sum()
    }

    /// Runs the plans of a step in their order, each fed its examples, and counts the step.
    fn run_each(
        &mut self,
        program: Program,
        split: Split,
        indices: &[u32],
        mut run: impl FnMut(&mut dyn Backend, PlanId) -> Result<()>,
    ) -> Result<()> {
        let passes = self.passes(program, indices);
        assert!(
            self.logged() + passes.len() <= LOSS_LOG_CAPACITY,
            "results must be read before the log is full"
        );
        let program = match program {
            Program::Train if passes.len() > 1 => Program::Accumulate,
            program => program,
        };
        for &examples in &passes {
            let key = (program, split, examples.len(), indices.len());
            let is = |step: &CompiledStep| {
                (step.program, step.split, step.pass.batch, step.pass.of) == key
            };
            let step = self.steps.iter().position(is);
            let at = step.expect("every batch size of the data set is prepared");
            let CompiledStep { pass, plan, .. } = &self.steps[at];
            let backend = self.backend.as_mut();
            self.feeder.write(backend, pass, split, examples)?;
            run(backend, *plan)?;
            if program == Program::Evaluate {
                self.evaluated = Some(at);
            }
        }
        if program == Program::Accumulate {
            let update = self.update.expect("prepared with the passes");
            run(self.backend.as_mut(), update)?;
        }
        self.pending
            .push(passes.iter().map(|pass| pass.len()).collect());
        Ok(())
    }

    /// Runs a step and returns the seconds that each dispatch of its plans took.
    ///
    /// # Errors
    /// When the device has no clock for them or fails.
    pub fn profile(&mut self, program: Program, split: Split, indices: &[u32]) -> Result<Vec<f64>> {
        let mut seconds = Vec::new();
        self.run_each(program, split, indices, |backend, plan| {
            seconds.extend(backend.profile(plan)?);
            Ok(())
        })?;
        Ok(seconds)
    }

    /// Waits for the queued steps and returns what those since the last call measured.
    ///
    /// # Errors
    /// When the device fails.
    pub fn results(&mut self) -> Result<Vec<StepResult>> {
        let LossLogStates {
            cursor,
            loss,
            correct,
        } = self.steps[0].pass.log;
        let words = |bytes: Vec<u8>| -> Vec<u32> { bytemuck::pod_collect_to_vec(&bytes) };
        let end = words(self.backend.read(cursor)?)[0];
        let loss = words(self.backend.read(loss)?);
        let correct = words(self.backend.read(correct)?);
        // The device counts in 32 bits, so the count starts anew after 2³² entries.
        let mut at = end.wrapping_sub(self.logged() as u32);
        let mut next = || {
            let slot = at as usize % LOSS_LOG_CAPACITY;
            at = at.wrapping_add(1);
            StepResult {
                loss: f32::from_bits(loss[slot]),
                correct: correct[slot],
            }
        };
        let steps = std::mem::take(&mut self.pending);
        let step = |passes: Vec<usize>| {
            let mut sums = Sums::default();
            passes
                .iter()
                .for_each(|&examples| sums.add(next(), examples));
            StepResult {
                loss: sums.mean_loss() as f32,
                correct: sums.correct as u32,
            }
        };
        Ok(steps.into_iter().map(step).collect())
    }

    /// The logits `[batch, classes]` of the latest evaluation step.
    ///
    /// # Errors
    /// When there was none, or the device fails.
    pub fn logits(&mut self) -> Result<Vec<f32>> {
        let step = self.evaluated.context("nothing was evaluated yet")?;
        let CompiledStep { pass, plan, .. } = &self.steps[step];
        let bytes = self.backend.read_value(*plan, pass.network.logits)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// Waits for the queued steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn wait(&mut self) -> Result<()> {
        self.backend.wait()
    }
}
