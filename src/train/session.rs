//! A network on a device, ready to be stepped, with the data set in the device's memory.
use super::micro;
use super::optim::OptimizerState;
use super::pass::StepGraph;
use super::prepared::{Part, SessionSpec, Step, StepPlans};
use super::progress::{StepResult, Sums};
use crate::backend::{Backend, PlanId};
use crate::data::Dataset;
use crate::graph::{Graph, TensorId};
use crate::model::Param;
use crate::ops::{LOSS_LOG_CAPACITY, LossLogStates, first_scale, resize_taps};
use crate::tensor::Shape;
use anyhow::{Context, Result};

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
    /// The steps since the last [`Session::results`], each with the examples of its passes.
    pending: Vec<Vec<usize>>,
}

/// A step, or a pass of one, that the device holds ready.
struct CompiledStep {
    part: Part,
    pass: StepGraph,
    plan: PlanId,
}

impl Session {
    /// Allocates and compiles everything and writes the data set to the device.
    ///
    /// # Errors
    /// When the device fails.
    pub fn open(
        plans: StepPlans,
        data: &Dataset,
        mut backend: Box<dyn Backend>,
    ) -> Result<Session> {
        let StepPlans {
            graph,
            steps,
            update,
            optimizer_state,
            sources,
            spec,
            ..
        } = plans;
        let mut ready = Vec::new();
        for Step { part, pass, plan } in steps {
            let plan = backend.compile(plan).context("preparing the device")?;
            ready.push(CompiledStep { part, pass, plan });
        }
        let update = match update {
            Some(plan) => Some(backend.compile(plan).context("preparing the device")?),
            None => None,
        };
        for (part, source) in sources {
            let images = if part == Part::Train {
                &data.train
            } else {
                &data.test
            };
            let (taps, _) = resize_taps(images.size, source.size);
            backend.write(source.images, &images.pixels)?;
            backend.write(source.labels, bytemuck::cast_slice(&images.labels))?;
            backend.write(source.taps, bytemuck::cast_slice(&taps))?;
        }
        let scaled = ready.iter().filter(|step| step.pass.scaling.is_some());
        if let Some(largest) = scaled.max_by_key(|step| step.pass.of)
            && let Some(scaling) = largest.pass.scaling
        {
            let scale = [first_scale(largest.pass.of), 0.0];
            backend.write(scaling, bytemuck::cast_slice(&scale))?;
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

    /// Queues a step on these examples, an evaluation of at most one pass. Its result comes from
    /// [`Session::results`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, part: Part, indices: &[u32]) -> Result<()> {
        self.run_each(part, indices, |backend, plan| backend.run(plan))
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

    /// Runs the plans of a step in their order, each with the indices of its examples, and counts the step.
    fn run_each(
        &mut self,
        part: Part,
        indices: &[u32],
        mut run: impl FnMut(&mut dyn Backend, PlanId) -> Result<()>,
    ) -> Result<()> {
        let passes = match part {
            Part::Train => micro::passes(indices, self.spec.micro_batch),
            Part::Test => vec![indices],
        };
        assert!(
            self.logged() + passes.len() <= LOSS_LOG_CAPACITY,
            "results must be read before the log is full"
        );
        let of = indices.len();
        for &pass in &passes {
            let known = self.ready(part, pass.len(), of);
            let CompiledStep { pass: p, plan, .. } =
                known.expect("every batch size of the data set is prepared");
            let (input, plan) = (p.indices, *plan);
            self.backend.write(input, bytemuck::cast_slice(pass))?;
            run(self.backend.as_mut(), plan)?;
        }
        if passes.len() > 1 {
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
    pub fn profile(&mut self, part: Part, indices: &[u32]) -> Result<Vec<f64>> {
        let mut seconds = Vec::new();
        self.run_each(part, indices, |backend, plan| {
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

    /// The logits `[batch, classes]` of the latest evaluation step, which had `batch` examples.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&mut self, batch: usize) -> Result<Vec<f32>> {
        let known = self.ready(Part::Test, batch, batch);
        let CompiledStep { pass, plan, .. } =
            known.context("no evaluation step has this many examples")?;
        let (logits, plan) = (pass.network.logits, *plan);
        let bytes = self.backend.read_value(plan, logits)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// Waits for the queued steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn wait(&mut self) -> Result<()> {
        self.backend.wait()
    }

    /// The pass on `batch` examples of a step on `of`.
    fn ready(&self, part: Part, batch: usize, of: usize) -> Option<&CompiledStep> {
        let is = |step: &&CompiledStep| {
            step.part == part && (step.pass.batch, step.pass.of) == (batch, of)
        };
        self.steps.iter().find(is)
    }
}
