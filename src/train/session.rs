//! A network on a device, ready to be stepped: the graph, its plans, and the data set in memory.
use super::pass::{Optimizer, Pass, Source, evaluate, train};
use crate::backend::{Backend, PlanId, memory_needed};
use crate::data::{Dataset, Images};
use crate::graph::{Graph, Shape, TensorId};
use crate::model::{Arch, Param};
use crate::ops::{RECORD_CAPACITY, RecordStates, resize_taps};
use crate::plan::{Limits, Plan, plan};
use crate::report::{StepResult, mib};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The network.
    pub arch: Arch,
    /// Examples per step; the last step of an epoch may have fewer.
    pub batch_size: usize,
    /// Side of the images after resizing.
    pub image_size: usize,
    /// The most steps per epoch and per evaluation.
    pub limit_batches: Option<usize>,
    /// `None` only evaluates.
    pub optimizer: Option<Optimizer>,
}

/// Which half of the data set a step takes its examples from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Training steps, with updates.
    Train,
    /// Evaluation steps on the test images.
    Test,
}

/// A network on a device.
pub struct Session {
    backend: Box<dyn Backend>,
    graph: Graph,
    passes: Vec<(Part, usize, Pass, PlanId)>,
    lr: Option<TensorId>,
    /// Steps since the last [`Session::results`].
    pending: usize,
    memory: u64,
}

/// The graph of a session before anything is allocated.
pub struct Prepared {
    graph: Graph,
    passes: Vec<(Part, usize, Pass, Plan)>,
    sources: Vec<(Part, Source)>,
}

impl Prepared {
    /// Builds and plans every step that the data set needs. Nothing is allocated.
    ///
    /// # Errors
    /// When the network does not fit the images or a step the device's binding limit.
    pub fn new(spec: &Spec, data: &Dataset, limits: Limits) -> Result<Prepared> {
        let Spec {
            arch,
            batch_size,
            image_size,
            limit_batches,
            optimizer,
        } = spec;
        let mut graph = Graph::default();
        let mut passes = Vec::new();
        let mut sources = Vec::new();
        for (part, images) in [(Part::Train, &data.train), (Part::Test, &data.test)] {
            let optimizer = match (part, optimizer) {
                (Part::Train, None) => continue,
                (Part::Train, Some(optimizer)) => Some(*optimizer),
                (Part::Test, _) => None,
            };
            let name = if part == Part::Train { "train" } else { "test" };
            let Images { size, channels, .. } = *images;
            let source = Source::new(&mut graph, name, images.count, size, channels, *image_size);
            sources.push((part, source));
            for batch in batch_sizes(images.count, *batch_size, *limit_batches) {
                let pass = match optimizer {
                    Some(optimizer) => train(&mut graph, arch, &source, batch, optimizer),
                    None => evaluate(&mut graph, arch, &source, batch),
                }?;
                let plan = plan(&graph, pass.nodes.clone(), &[pass.network.logits], limits)?;
                passes.push((part, batch, pass, plan));
            }
        }
        passes.sort_by_key(|(_, _, _, plan)| std::cmp::Reverse(plan.pool_bytes()));
        Ok(Prepared {
            graph,
            passes,
            sources,
        })
    }

    /// Bytes that the session will allocate on the device.
    pub fn memory(&self) -> u64 {
        memory_needed(self.passes.iter().map(|(_, _, _, plan)| plan))
    }

    /// The plan of a full batch's step.
    pub fn plan(&self, part: Part) -> Option<&Plan> {
        let of_part = self.passes.iter().filter(|(p, ..)| *p == part);
        of_part
            .max_by_key(|(_, batch, ..)| *batch)
            .map(|(_, _, _, plan)| plan)
    }

    /// The graph that the plans are of.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Refuses what the device's memory cannot hold, naming the batch size that would fit.
    ///
    /// # Errors
    /// When the memory is too small or cannot be asked for.
    pub fn check_memory(&self, spec: &Spec, data: &Dataset, backend: &dyn Backend) -> Result<()> {
        let Some(available) = backend.memory()? else {
            return Ok(());
        };
        let needed = self.memory();
        if needed <= available {
            return Ok(());
        }
        let fits = |batch: usize| -> Result<bool> {
            let spec = Spec {
                batch_size: batch,
                ..spec.clone()
            };
            Ok(Prepared::new(&spec, data, backend.limits())?.memory() <= available)
        };
        // The largest batch that fits lies in `low..high`; BatchNorm needs at least two examples.
        let (mut low, mut high) = (1, spec.batch_size);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle)? {
                low = middle
            } else {
                high = middle
            }
        }
        let advice = if low > 1 {
            format!("--batch-size {low} would fit")
        } else {
            "no batch size would fit; take a smaller --image-size".to_string()
        };
        bail!(
            "batch size {} at {size}×{size} needs {}, but {} has {}: {advice}",
            spec.batch_size,
            mib(needed),
            backend.device(),
            mib(available),
            size = spec.image_size,
        )
    }
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
        let memory = prepared.memory();
        let Prepared {
            graph,
            passes,
            sources,
        } = prepared;
        let mut compiled = Vec::new();
        for (part, batch, pass, plan) in passes {
            let id = backend.compile(plan).context("preparing the device")?;
            compiled.push((part, batch, pass, id));
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
        let lr = graph.find("lr");
        Ok(Session {
            backend,
            graph,
            passes: compiled,
            lr,
            pending: 0,
            memory,
        })
    }

    /// The device.
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Bytes allocated on the device.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// The network's parameters, the same in every step.
    pub fn params(&self) -> &[Param] {
        &self.passes[0].2.network.params
    }

    /// The optimiser's states with their names in a checkpoint.
    pub fn momenta(&self) -> &[(String, TensorId)] {
        let train = self.passes.iter().find(|(part, ..)| *part == Part::Train);
        train
            .map(|(_, _, pass, _)| pass.momenta.as_slice())
            .unwrap_or_default()
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
        assert!(
            self.pending < RECORD_CAPACITY,
            "results must be read before the log is full"
        );
        let known = self
            .passes
            .iter()
            .find(|(p, batch, ..)| *p == part && *batch == indices.len());
        let (_, _, pass, plan) = known.expect("every batch size of the data set is prepared");
        self.backend
            .write(pass.indices, bytemuck::cast_slice(indices))?;
        self.backend.run(*plan)?;
        self.pending += 1;
        Ok(())
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
        } = self.passes[0].2.record;
        let words = |bytes: Vec<u8>| -> Vec<u32> { bytemuck::pod_collect_to_vec(&bytes) };
        let end = words(self.backend.read(cursor)?)[0] as usize;
        let loss = words(self.backend.read(loss)?);
        let correct = words(self.backend.read(correct)?);
        let entry = |at: usize| {
            let slot = at % RECORD_CAPACITY;
            StepResult {
                loss: f32::from_bits(loss[slot]),
                correct: correct[slot],
            }
        };
        let results = (end - self.pending..end).map(entry).collect();
        self.pending = 0;
        Ok(results)
    }

    /// The logits `[batch, classes]` of the latest evaluation step, which had `batch` examples.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&mut self, batch: usize) -> Result<Vec<f32>> {
        let known = self
            .passes
            .iter()
            .find(|(p, b, ..)| *p == Part::Test && *b == batch);
        let (_, _, pass, plan) = known.context("no evaluation step has this many examples")?;
        Ok(bytemuck::pod_collect_to_vec(
            &self.backend.read_value(*plan, pass.network.logits)?,
        ))
    }

    /// Waits for the queued steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn wait(&mut self) -> Result<()> {
        self.backend.wait()
    }
}

/// The batches of an epoch over `order`.
pub fn batches(order: &[u32], batch: usize, limit: Option<usize>) -> impl Iterator<Item = &[u32]> {
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
