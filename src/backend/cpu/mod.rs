//! The native backend: runs a plan's dispatches one after another, each on all threads.
mod buffer;
mod half;
pub mod host;
mod packed;

use super::pool::{Assignment, assign};
use super::{Backend, PlanId};
use crate::graph::TensorId;
use crate::kernels::CpuContext;
use crate::kernels::precision::Matmul;
use crate::kernels::simd;
use crate::ops::{View, ViewMut};
use crate::plan::{Aliased, Binding, Dispatch, Limits, Place, Plan};
use crate::process::ensure_free;
use crate::tensor::TensorDesc;
use anyhow::{Context, Result, ensure};
use buffer::Buffer;
use packed::{PackedWeights, WEIGHT, context_of};
use std::collections::{BTreeMap, HashMap, hash_map::Entry};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Instant;

/// More of them on a core take minutes for a step of milliseconds.
const THREADS_PER_CORE: usize = 16;

/// What the kernels take on a thread beside the tensors, on the large side.
const KERNELS_ROOM: u64 = 16 << 20;

/// Runs plans on the machine's cores.
pub struct Cpu {
    device: String,
    context: CpuContext,
    threads: rayon::ThreadPool,
    owned: HashMap<TensorId, Buffer>,
    /// Inputs and states in the buffers of others.
    parts: HashMap<TensorId, Aliased>,
    pool: Vec<Buffer>,
    packed: PackedWeights,
    plans: Vec<CpuPlan>,
}

struct CpuPlan {
    plan: Plan,
    /// For each slot of the plan, the pool buffer that plays it.
    slots: Vec<usize>,
}

impl Cpu {
    /// A backend on all cores.
    ///
    /// # Errors
    /// When the threads are far too many or cannot be started, or the environment asks for an instruction set that is not there.
    pub fn new() -> Result<Cpu> {
        Cpu::open(None, Matmul::F32)
    }

    /// A backend on so many threads, or on all cores, that multiplies in this way.
    ///
    /// # Errors
    /// As for [`Cpu::new`].
    pub fn open(threads: Option<NonZeroUsize>, matmul: Matmul) -> Result<Cpu> {
        simd::choose()?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if let Some(count) = threads {
            ensure!(
                count.get() <= THREADS_PER_CORE * cores,
                "--threads {count}: this machine has {cores} cores, and more than {} threads would mostly wait for each \
                 other",
                THREADS_PER_CORE * cores
            );
        }
        let threads = rayon::ThreadPoolBuilder::new()
            // 0 stands for all cores.
            .num_threads(threads.map_or(0, NonZeroUsize::get))
            .build()
            .context("starting the CPU threads")?;
        let device = format!(
            "cpu ({}, {}{}, {} threads)",
            host::processor()?,
            simd::name(),
            matmul
                .name()
                .map_or(String::new(), |name| format!(", {name}")),
            threads.current_num_threads()
        );
        Ok(Cpu {
            device,
            context: CpuContext {
                matmul,
                batch: None,
            },
            threads,
            owned: HashMap::new(),
            parts: HashMap::new(),
            pool: Vec::new(),
            packed: PackedWeights::default(),
            plans: Vec::new(),
        })
    }

    /// The buffer of an input or a state, and its bytes there.
    fn place(&self, tensor: TensorId) -> Result<(TensorId, Range<usize>)> {
        if let Some(part) = self.parts.get(&tensor) {
            return Ok((part.of, part.offset..part.offset + part.bytes));
        }
        let buffer = self
            .owned
            .get(&tensor)
            .context("no compiled plan has this input or state")?;
        Ok((tensor, 0..buffer.bytes().len()))
    }
}

impl Backend for Cpu {
    fn device(&self) -> &str {
        &self.device
    }

    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn factor_error(&self) -> f64 {
        self.context.matmul.factor_error()
    }

    fn stores_f16(&self) -> bool {
        true
    }

    fn stores_bf16(&self) -> bool {
        true
    }

    fn memory(&self) -> Result<Option<u64>> {
        host::available_memory().map(Some)
    }

    fn scratch(&self, plans: &[&Plan]) -> u64 {
        let of = |dispatch: &Dispatch| {
            let (op, bound) = (dispatch.op.def(), dispatch.inputs.iter());
            let bound = bound.chain(&dispatch.outputs);
            bound.map(|b| half::scratch(op, b.desc)).sum::<u64>()
        };
        let dispatches = plans.iter().flat_map(|plan| &plan.dispatches);
        let wide = dispatches.map(of).max().unwrap_or(0);
        wide + packed::bytes(plans, self.context)
    }

    fn max_buffer(&self) -> u64 {
        u64::MAX
    }

    fn memory_used(&self) -> Result<u64> {
        host::process_memory()
    }

    fn compile(&mut self, plan: Plan) -> Result<PlanId> {
        let room =
            self.scratch(&[&plan]) + KERNELS_ROOM * self.threads.current_num_threads() as u64;
        ensure_free(room, "the kernels of a step")?;
        for (&tensor, &bytes) in &plan.owned {
            if let Entry::Vacant(entry) = self.owned.entry(tensor) {
                entry.insert(Buffer::zeroed(bytes)?);
            }
        }
        self.parts.extend(&plan.parts);
        self.packed.compile(&plan);
        let sizes: Vec<usize> = self.pool.iter().map(|b| b.bytes().len()).collect();
        let Assignment { slots, new } = assign(&plan.slots, &sizes);
        for bytes in new {
            self.pool.push(Buffer::zeroed(bytes)?);
        }
        self.plans.push(CpuPlan { plan, slots });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn run(&mut self, id: PlanId) -> Result<()> {
        self.profile(id).map(drop)
    }

    fn profile(&mut self, id: PlanId) -> Result<Vec<f64>> {
        let Cpu {
            threads,
            context,
            owned,
            pool,
            packed,
            plans,
            ..
        } = self;
        let CpuPlan { plan, slots } = &plans[id.0];
        let mut timed = |dispatch: &Dispatch| {
            let start = Instant::now();
            let prepared = packed.weight(dispatch, *context, owned)?;
            run_dispatch(dispatch, *context, prepared, slots, owned, pool);
            Ok(start.elapsed().as_secs_f64())
        };
        threads.install(|| plan.dispatches.iter().map(&mut timed).collect())
    }

    fn write(&mut self, tensor: TensorId, bytes: &[u8]) -> Result<()> {
        let (_, range) = self.place(tensor)?;
        ensure!(
            range.len() == bytes.len(),
            "{} bytes for a tensor of {}",
            bytes.len(),
            range.len()
        );
        self.write_part(tensor, 0, bytes)
    }

    fn write_part(&mut self, tensor: TensorId, offset: usize, bytes: &[u8]) -> Result<()> {
        let (buffer, range) = self.place(tensor)?;
        ensure!(
            offset + bytes.len() <= range.len(),
            "{} bytes from {offset} on for a tensor of {}",
            bytes.len(),
            range.len()
        );
        self.packed.forget(buffer);
        let buffer = self.owned.get_mut(&buffer).expect("allocated by compile");
        buffer.bytes_mut()[range][offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        let (buffer, range) = self.place(tensor)?;
        Ok(self.owned[&buffer].bytes()[range].to_vec())
    }

    fn read_value(&mut self, id: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        let CpuPlan { plan, slots } = &self.plans[id.0];
        let kept = plan
            .kept
            .get(&tensor)
            .context("the plan does not keep this value")?;
        let bytes = self.pool[slots[kept.slot]].bytes();
        Ok(bytes[kept.offset..kept.offset + kept.bytes].to_vec())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Takes the written buffers out of their places, so that the kernel borrows the read ones beside them. A weight may be
/// `prepared`.
fn run_dispatch(
    dispatch: &Dispatch,
    cpu: CpuContext,
    prepared: Option<&[f32]>,
    slots: &[usize],
    owned: &mut HashMap<TensorId, Buffer>,
    pool: &mut [Buffer],
) {
    let mut written: BTreeMap<Place, Buffer> = BTreeMap::new();
    for b in &dispatch.outputs {
        written.entry(b.place).or_insert_with(|| match b.place {
            Place::Own(t) => std::mem::take(owned.get_mut(&t).expect("allocated by compile")),
            Place::Slot(slot) => std::mem::take(&mut pool[slots[slot]]),
        });
    }
    let part = |b: &Binding| b.offset..b.offset + b.desc.bytes();
    let inputs: Vec<View> = dispatch
        .inputs
        .iter()
        .enumerate()
        .map(|(i, b)| {
            let buffer = match b.place {
                Place::Own(t) => &owned[&t],
                Place::Slot(slot) => &pool[slots[slot]],
            };
            View {
                desc: b.desc,
                bytes: &buffer.bytes()[part(b)],
                prepared: prepared.filter(|_| i == WEIGHT),
            }
        })
        .collect();
    let mut outputs = views(&mut written, &dispatch.outputs);
    run_in_f32(dispatch, context_of(dispatch, cpu), &inputs, &mut outputs);
    for (place, buffer) in written {
        match place {
            Place::Own(t) => *owned.get_mut(&t).expect("allocated by compile") = buffer,
            Place::Slot(slot) => pool[slots[slot]] = buffer,
        }
    }
}

/// Runs a kernel, which sees f32 in the place of f16, and of bfloat16 where it does not take that.
fn run_in_f32(dispatch: &Dispatch, cpu: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
    let op = dispatch.op.def();
    let wide = inputs
        .iter()
        .map(|view| half::widened(op, view.desc, view.bytes));
    let wide: Vec<_> = wide.collect();
    let inputs = inputs.iter().zip(&wide).map(|(view, wide)| match wide {
        Some(wide) => View {
            desc: TensorDesc::f32(view.shape()),
            bytes: bytemuck::cast_slice(wide),
            prepared: None,
        },
        None => *view,
    });
    let rooms = outputs
        .iter()
        .map(|view| half::widened(op, view.desc, view.bytes));
    let mut rooms: Vec<_> = rooms.collect();
    let results = outputs.iter_mut().zip(&mut rooms);
    let mut results: Vec<ViewMut> = results
        .map(|(view, room)| match room {
            Some(room) => ViewMut {
                desc: TensorDesc::f32(view.desc.shape),
                bytes: bytemuck::cast_slice_mut(room),
            },
            None => ViewMut {
                desc: view.desc,
                bytes: view.bytes,
            },
        })
        .collect();
    let inputs: Vec<View> = inputs.collect();
    op.run_cpu(cpu, &inputs, &mut results);
    for (view, room) in outputs.iter_mut().zip(&rooms) {
        if let Some(room) = room {
            half::round(room, view.desc.dtype, view.bytes);
        }
    }
}

/// The parts of the buffers that the bindings stand for, of which several may lie in one buffer.
fn views<'b>(written: &'b mut BTreeMap<Place, Buffer>, outputs: &[Binding]) -> Vec<ViewMut<'b>> {
    let mut rest: BTreeMap<Place, (usize, &mut [u8])> = BTreeMap::new();
    for (place, buffer) in written {
        rest.insert(*place, (0, buffer.bytes_mut()));
    }
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by_key(|&i| (outputs[i].place, outputs[i].offset));
    let mut views: Vec<(usize, ViewMut)> = Vec::new();
    for i in order {
        let Binding {
            place,
            offset,
            desc,
            ..
        } = outputs[i];
        let (start, bytes) = rest.remove(&place).expect("taken above");
        let (_, bytes) = bytes.split_at_mut(offset - start);
        let (bytes, after) = bytes.split_at_mut(desc.bytes());
        rest.insert(place, (offset + desc.bytes(), after));
        views.push((i, ViewMut { desc, bytes }));
    }
    views.sort_by_key(|(i, _)| *i);
    views.into_iter().map(|(_, view)| view).collect()
}
