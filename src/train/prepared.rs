//! The graph and the plans of a session, before anything is allocated.
use super::pass::{Optimizer, Pass, Source, evaluate, train};
use crate::backend::{Backend, memory_needed};
use crate::data::{Dataset, Images};
use crate::graph::{DType, Graph, fuse};
use crate::model::Arch;
use crate::plan::{Limits, Plan, plan};
use crate::report::mib;
use anyhow::{Result, bail};
use std::cmp::Reverse;
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
    /// Whether the steps are fused, see [`fuse`].
    pub fuse: bool,
    /// What activations and their gradients are stored as, f32 or f16.
    pub stored: DType,
}

/// Which half of the data set a step takes its examples from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Training steps, with updates.
    Train,
    /// Evaluation steps on the test images.
    Test,
}

/// The graph of a session before anything is allocated.
pub struct Prepared {
    pub(super) graph: Graph,
    /// The step that needs most memory first.
    pub(super) steps: Vec<Step>,
    pub(super) sources: Vec<(Part, Source)>,
}

/// A step on one size of batch.
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) pass: Pass,
    pub(super) plan: Plan,
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
            fuse: fused,
            stored,
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
            let source = Source {
                stored: *stored,
                ..Source::new(&mut graph, name, images.count, size, channels, *image_size)
            };
            sources.push((part, source));
            for batch in batch_sizes(images.count, *batch_size, *limit_batches) {
                let pass = match optimizer {
                    Some(optimizer) => train(&mut graph, arch, &source, batch, optimizer),
                    None => evaluate(&mut graph, arch, &source, batch),
                }?;
                passes.push((part, pass));
            }
        }
        if *fused {
            for (_, pass) in &mut passes {
                pass.nodes = fuse(&mut graph, pass.nodes.clone(), &[pass.network.logits])?;
            }
        }
        let step = |(part, pass): (Part, Pass)| -> Result<Step> {
            let plan = plan(&graph, pass.nodes.clone(), &[pass.network.logits], limits)?;
            Ok(Step { part, pass, plan })
        };
        let mut steps = passes.into_iter().map(step).collect::<Result<Vec<_>>>()?;
        steps.sort_by_key(|step| Reverse(step.plan.pool_bytes()));
        Ok(Prepared {
            graph,
            steps,
            sources,
        })
    }

    /// Bytes that the session will allocate on the device.
    pub fn memory(&self) -> u64 {
        memory_needed(self.steps.iter().map(|step| &step.plan))
    }

    /// The plan of a full batch's step.
    pub fn plan(&self, part: Part) -> Option<&Plan> {
        let of_part = self.steps.iter().filter(|step| step.part == part);
        of_part
            .max_by_key(|step| step.pass.batch)
            .map(|step| &step.plan)
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
