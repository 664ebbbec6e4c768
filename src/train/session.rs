//! A network on a device, ready to be stepped, with the data set in the device's memory.
use super::pass::Pass;
use super::prepared::{Part, Prepared, Step};
use crate::backend::{Backend, PlanId};
use crate::data::Dataset;
use crate::graph::{Graph, Shape, TensorId};
use crate::model::Param;
use crate::ops::{FIRST_SCALE, RECORD_CAPACITY, RecordStates, resize_taps};
use crate::report::StepResult;
use anyhow::{Context, Result};

/// A network on a device.
pub struct Session {
    backend: Box<dyn Backend>,
    graph: Graph,
    steps: Vec<Ready>,
    lr: Option<TensorId>,
    /// Steps since the last [`Session::results`].
    pending: usize,
}

/// A step that the device holds ready.
struct Ready {
    part: Part,
    pass: Pass,
    plan: PlanId,
}

impl Session {
    /// Allocates and compiles everything and writes the data set to the device.
    ///
    /// # Errors
    /// When the device fails.
    pub fn open(
        prepared: Prepared,
        data: &Dataset,
        mut backend: Box<dyn Backend>,
    ) -> Result<Session> {
        let Prepared {
            graph,
            steps,
            sources,
        } = prepared;
        let mut ready = Vec::new();
        for Step { part, pass, plan } in steps {
            let plan = backend.compile(plan).context("preparing the device")?;
            ready.push(Ready { part, pass, plan });
        }
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
        for scaling in ready.iter().filter_map(|step| step.pass.scaling) {
            backend.write(scaling, bytemuck::cast_slice(&[FIRST_SCALE, 0.0]))?;
        }
        let lr = graph.find("lr");
        Ok(Session {
            backend,
            graph,
            steps: ready,
            lr,
            pending: 0,
        })
    }

    /// The device.
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
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
    pub fn momenta(&self) -> &[(String, TensorId)] {
        let train = self.steps.iter().find(|step| step.part == Part::Train);
        train.map_or(&[], |step| &step.pass.momenta)
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

    /// Queues a step on these examples. Its result comes from [`Session::results`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, part: Part, indices: &[u32]) -> Result<()> {
        let plan = self.prepare(part, indices)?;
        self.backend.run(plan)
    }

    /// Writes the indices of a step and counts it; returns its plan.
    fn prepare(&mut self, part: Part, indices: &[u32]) -> Result<PlanId> {
        assert!(
            self.pending < RECORD_CAPACITY,
            "results must be read before the log is full"
        );
        let known = self.ready(part, indices.len());
        let Ready { pass, plan, .. } = known.expect("every batch size of the data set is prepared");
        let (input, plan) = (pass.indices, *plan);
        self.backend.write(input, bytemuck::cast_slice(indices))?;
        self.pending += 1;
        Ok(plan)
    }

    /// Runs a step and returns the seconds that each of its plan's dispatches took.
    ///
    /// # Errors
    /// When the device has no clock for them or fails.
    pub fn profile(&mut self, part: Part, indices: &[u32]) -> Result<Vec<f64>> {
        let plan = self.prepare(part, indices)?;
        self.backend.profile(plan)
    }

    /// Waits for the queued steps and returns what those since the last call measured.
    ///
    /// # Errors
    /// When the device fails.
    pub fn results(&mut self) -> Result<Vec<StepResult>> {
        let RecordStates {
            cursor,
            loss,
            correct,
        } = self.steps[0].pass.record;
        let words = |bytes: Vec<u8>| -> Vec<u32> { bytemuck::pod_collect_to_vec(&bytes) };
        let end = words(self.backend.read(cursor)?)[0];
        let loss = words(self.backend.read(loss)?);
        let correct = words(self.backend.read(correct)?);
        // The device counts in 32 bits, so the count starts anew after 2³² steps.
        let first = end.wrapping_sub(self.pending as u32);
        let entry = |i: usize| {
            let slot = first.wrapping_add(i as u32) as usize % RECORD_CAPACITY;
            StepResult {
                loss: f32::from_bits(loss[slot]),
                correct: correct[slot],
            }
        };
        let results = (0..self.pending).map(entry).collect();
        self.pending = 0;
        Ok(results)
    }

    /// The logits `[batch, classes]` of the latest evaluation step, which had `batch` examples.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&mut self, batch: usize) -> Result<Vec<f32>> {
        let known = self.ready(Part::Test, batch);
        let Ready { pass, plan, .. } =
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

    fn ready(&self, part: Part, batch: usize) -> Option<&Ready> {
        let is = |step: &&Ready| step.part == part && step.pass.batch == batch;
        self.steps.iter().find(is)
    }
}
