//! The native backend: runs a plan's dispatches one after another, each on all threads.
mod buffer;
pub mod conv;
pub mod host;
pub mod norm;
pub mod simd;

use super::{Assignment, Backend, PlanId};
use crate::graph::TensorId;
use crate::ops::{View, ViewMut};
use crate::plan::{Binding, Dispatch, Limits, Place, Plan};
use anyhow::{Context, Result, ensure};
use buffer::Buffer;
use std::collections::{HashMap, hash_map::Entry};
use std::num::NonZeroUsize;
use std::time::Instant;

/// Runs plans on the machine's cores.
pub struct Cpu {
    device: String,
    threads: rayon::ThreadPool,
    owned: HashMap<TensorId, Buffer>,
    pool: Vec<Buffer>,
    plans: Vec<Compiled>,
}

struct Compiled {
    plan: Plan,
    /// For each slot of the plan, the pool buffer that plays it.
    slots: Vec<usize>,
}

impl Cpu {
    /// A backend on all cores.
    ///
    /// # Errors
    /// When the threads cannot be started, or the environment asks for an instruction set that is not there.
    pub fn new() -> Result<Cpu> {
        Cpu::with_threads(None)
    }

    /// A backend on so many threads, or on all cores.
    ///
    /// # Errors
    /// As for [`Cpu::new`].
    pub fn with_threads(threads: Option<NonZeroUsize>) -> Result<Cpu> {
        simd::choose()?;
        let threads = rayon::ThreadPoolBuilder::new()
            // 0 stands for all cores.
            .num_threads(threads.map_or(0, NonZeroUsize::get))
            .build()
            .context("starting the CPU threads")?;
        let device = format!(
            "cpu ({}, {}, {} threads)",
            host::processor()?,
            simd::name(),
            threads.current_num_threads()
        );
        Ok(Cpu {
            device,
            threads,
            owned: HashMap::new(),
            pool: Vec::new(),
            plans: Vec::new(),
        })
    }

    fn owned(&self, tensor: TensorId) -> Result<&Buffer> {
        self.owned
            .get(&tensor)
            .context("no compiled plan has this input or state")
    }
}

impl Backend for Cpu {
    fn device(&self) -> &str {
        &self.device
    }

    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn memory(&self) -> Result<Option<u64>> {
        host::available_memory().map(Some)
    }

    fn memory_used(&self) -> Result<u64> {
        host::process_memory()
    }

    fn compile(&mut self, plan: Plan) -> Result<PlanId> {
        for (&tensor, &bytes) in &plan.owned {
            if let Entry::Vacant(entry) = self.owned.entry(tensor) {
                entry.insert(Buffer::zeroed(bytes)?);
            }
        }
        let sizes: Vec<usize> = self.pool.iter().map(|b| b.bytes().len()).collect();
        let Assignment { slots, new } = super::assign(&plan.slots, &sizes);
        for bytes in new {
            self.pool.push(Buffer::zeroed(bytes)?);
        }
        self.plans.push(Compiled { plan, slots });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn run(&mut self, id: PlanId) -> Result<()> {
        self.profile(id).map(drop)
    }

    fn profile(&mut self, id: PlanId) -> Result<Vec<f64>> {
        let Cpu {
            threads,
            owned,
            pool,
            plans,
            ..
        } = self;
        let Compiled { plan, slots } = &plans[id.0];
        let mut timed = |dispatch: &Dispatch| {
            let start = Instant::now();
            run_dispatch(dispatch, slots, owned, pool);
            start.elapsed().as_secs_f64()
        };
        Ok(threads.install(|| plan.dispatches.iter().map(&mut timed).collect()))
    }

    fn write(&mut self, tensor: TensorId, bytes: &[u8]) -> Result<()> {
        let buffer = self
            .owned
            .get_mut(&tensor)
            .context("no compiled plan has this input or state")?;
        let into = buffer.bytes_mut();
        ensure!(
            into.len() == bytes.len(),
            "{} bytes for a tensor of {}",
            bytes.len(),
            into.len()
        );
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        Ok(self.owned(tensor)?.bytes().to_vec())
    }

    fn read_value(&mut self, id: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        let Compiled { plan, slots } = &self.plans[id.0];
        let kept = plan
            .kept
            .get(&tensor)
            .context("the plan does not keep this value")?;
        Ok(self.pool[slots[kept.slot]].bytes()[..kept.bytes].to_vec())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Takes the written buffers out of their places, so that the kernel borrows the read ones beside them.
fn run_dispatch(
    dispatch: &Dispatch,
    slots: &[usize],
    owned: &mut HashMap<TensorId, Buffer>,
    pool: &mut [Buffer],
) {
    let mut written: Vec<Buffer> = dispatch
        .outputs
        .iter()
        .map(|b| match b.place {
            Place::Own(t) => std::mem::take(owned.get_mut(&t).expect("allocated by compile")),
            Place::Slot(slot) => std::mem::take(&mut pool[slots[slot]]),
        })
        .collect();
    let part = |b: &Binding| b.offset..b.offset + b.desc.bytes();
    let inputs: Vec<View> = dispatch
        .inputs
        .iter()
        .map(|b| {
            let buffer = match b.place {
                Place::Own(t) => &owned[&t],
                Place::Slot(slot) => &pool[slots[slot]],
            };
            View {
                desc: b.desc,
                bytes: &buffer.bytes()[part(b)],
            }
        })
        .collect();
    let mut outputs: Vec<ViewMut> = written
        .iter_mut()
        .zip(&dispatch.outputs)
        .map(|(buffer, b)| ViewMut {
            desc: b.desc,
            bytes: &mut buffer.bytes_mut()[part(b)],
        })
        .collect();
    dispatch.op.def().run_cpu(&inputs, &mut outputs);
    for (buffer, b) in written.into_iter().zip(&dispatch.outputs) {
        match b.place {
            Place::Own(t) => *owned.get_mut(&t).expect("allocated by compile") = buffer,
            Place::Slot(slot) => pool[slots[slot]] = buffer,
        }
    }
}
