//! The wgpu backend: Vulkan, Metal or DX12. One encoder, one pass and one submit per run of a
//! plan, unless that would keep the device busy for too long.
#![allow(unsafe_code)]

mod adapter;
mod cache;
mod compiled;
pub mod cooperative;
mod device;
mod pipelines;
mod profile;
mod submits;
mod tune;

pub use adapter::{AdapterReport, adapters};
pub use device::{Fault, Options, Tune};

use super::cpu::host;
use super::{Assignment, Backend, PlanId, Tuned};
use crate::graph::TensorId;
use crate::ops::{Convolution, Cooperative};
use crate::plan::{Binding, Kept, Limits, Part, Place, Plan};
use anyhow::{Context, Result, ensure};
use cache::Cache;
use compiled::Compiled;
use device::Device;
use pipelines::Pipelines;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use submits::Submits;

/// Runs that may be queued before the host waits for the oldest.
const IN_FLIGHT: usize = 2;

/// Runs plans on an adapter.
pub struct Gpu {
    device: Device,
    pipelines: Pipelines,
    /// Inputs and states with their sizes in bytes.
    owned: HashMap<TensorId, (wgpu::Buffer, usize)>,
    /// Inputs and states in the buffers of others.
    parts: HashMap<TensorId, Part>,
    pool: Vec<wgpu::Buffer>,
    plans: Vec<Compiled>,
    queued: VecDeque<wgpu::SubmissionIndex>,
    max_binding: usize,
    cooperative: Option<Cooperative>,
    fault: Option<Fault>,
    tune: Tune,
    identity: tune::Identity,
}

impl Gpu {
    /// Opens an adapter of [`adapters`].
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn open(adapter: &AdapterReport, options: Options) -> Result<Gpu> {
        let device = Device::open(adapter, options)?;
        let cache = Cache::open(&device, adapter);
        let offered = device.wgpu.limits().max_storage_buffer_binding_size;
        let offered = usize::try_from(offered).context("the binding limit")?;
        Ok(Gpu {
            max_binding: options.max_binding.unwrap_or(offered).min(offered),
            cooperative: options.cooperative,
            fault: options.fault,
            tune: options.tune,
            identity: tune::Identity::of(adapter, options.cooperative),
            pipelines: Pipelines::new(options.checked && adapter.checks(), cache),
            device,
            owned: HashMap::new(),
            parts: HashMap::new(),
            pool: Vec::new(),
            plans: Vec::new(),
            queued: VecDeque::new(),
        })
    }

    fn storage(&self, bytes: usize) -> wgpu::Buffer {
        use wgpu::BufferUsages as Usage;
        self.device
            .buffer(bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    /// Makes the buffers that the plan needs and that are not there yet; returns for each of its
    /// slots the number of the pool buffer that plays it.
    fn allocate(&mut self, plan: &Plan) -> Vec<usize> {
        for (&tensor, &bytes) in &plan.owned {
            if !self.owned.contains_key(&tensor) {
                self.owned.insert(tensor, (self.storage(bytes), bytes));
            }
        }
        self.parts.extend(&plan.parts);
        let sizes: Vec<usize> = self.pool.iter().map(|b| b.size() as usize).collect();
        let Assignment { slots, new } = super::assign(&plan.slots, &sizes);
        for bytes in new {
            let buffer = self.storage(bytes);
            self.pool.push(buffer);
        }
        slots
    }

    /// The buffer of an input or a state, and its first byte and its size there.
    fn place(&self, tensor: TensorId) -> Result<(&wgpu::Buffer, usize, usize)> {
        let part = self.parts.get(&tensor);
        let (buffer, size) = self
            .owned
            .get(&part.map_or(tensor, |part| part.of))
            .context("no compiled plan has this input or state")?;
        let (offset, bytes) = part.map_or((0, *size), |part| (part.offset, part.bytes));
        Ok((buffer, offset, bytes))
    }

    /// Queues a run in as few submits as the device's speed allows; returns the last one.
    fn submit(&self, id: PlanId) -> Option<wgpu::SubmissionIndex> {
        let Compiled { calls, submits, .. } = &self.plans[id.0];
        let mut last = None;
        for range in submits.ranges() {
            let mut encoder = self.device.wgpu.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for call in &calls[range.clone()] {
                    call.encode(&mut pass);
                }
            }
            last = Some(self.device.queue.submit([encoder.finish()]));
        }
        last
    }

    /// Fails if it is time for the fault that was asked for.
    fn count_run(&mut self) {
        if let Some(fault) = &mut self.fault {
            match fault.after.checked_sub(1) {
                Some(after) => fault.after = after,
                None => self.device.fail(fault.failure),
            }
        }
    }

    /// Whether it can time its kernels.
    fn has_timestamps(&self) -> bool {
        let features = self.device.wgpu.features();
        features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Gives back all buffers and plans; compiled kernels stay.
    fn forget(&mut self) -> Result<()> {
        self.wait()?;
        self.plans.clear();
        self.owned.clear();
        self.parts.clear();
        self.pool.clear();
        Ok(())
    }

    /// Runs a plan alone and takes its time, by which its submits are cut.
    fn run_timed(&mut self, id: PlanId) -> Result<()> {
        // What was written before goes to the device with the next submit.
        self.device.queue.submit([]);
        self.wait()?;
        let start = Instant::now();
        self.submit(id);
        self.wait()?;
        let seconds = start.elapsed().as_secs_f64();
        self.plans[id.0].submits.measured(seconds);
        Ok(())
    }
}

impl Backend for Gpu {
    fn device(&self) -> &str {
        &self.device.name
    }

    fn limits(&self) -> Limits {
        let alignment = self
            .device
            .wgpu
            .limits()
            .min_storage_buffer_offset_alignment;
        Limits {
            max_binding: self.max_binding,
            offset_alignment: alignment as usize,
            cooperative: self.cooperative,
        }
    }

    fn factor_error(&self) -> f64 {
        self.cooperative.map_or(0.0, |_| Cooperative::FACTOR_ERROR)
    }

    fn stores_f16(&self) -> bool {
        let features = self.device.wgpu.features();
        features.contains(wgpu::Features::SHADER_F16)
    }

    fn memory(&self) -> Result<Option<u64>> {
        // A software adapter names all of the machine's memory, much of which may be taken.
        Ok(match self.device.memory {
            Some(memory) if self.device.software => Some(memory.min(host::available_memory()?)),
            memory => memory,
        })
    }

    fn max_buffer(&self) -> u64 {
        self.device.wgpu.limits().max_buffer_size
    }

    fn memory_used(&self) -> Result<u64> {
        let owned = self.owned.values().map(|(buffer, _)| buffer.size());
        Ok(owned.chain(self.pool.iter().map(wgpu::Buffer::size)).sum())
    }

    fn compile(&mut self, plan: Plan) -> Result<PlanId> {
        let largest = plan
            .slots
            .iter()
            .chain(plan.owned.values())
            .max()
            .copied()
            .unwrap_or(0);
        let most = self.max_buffer();
        ensure!(
            largest as u64 <= most,
            "a tensor of {largest} bytes exceeds the {most} bytes that {} allows for one buffer",
            self.device.name
        );
        let planned = plan.memory_bytes();
        let device = self.device.clone();
        let slots = device.scoped(|| self.allocate(&plan)).with_context(|| {
            format!(
                "allocating {planned} bytes; a smaller --batch-size needs less, in training --micro-batch too"
            )
        })?;
        let (owned, pool) = (&self.owned, &self.pool);
        let behind = |binding: &Binding| match binding.place {
            Place::Own(t) => &owned[&t].0,
            Place::Slot(slot) => &pool[slots[slot]],
        };
        let calls = compiled::calls(&plan, &self.device, &mut self.pipelines, behind)?;
        self.device.check()?;
        let kept = plan
            .kept
            .iter()
            .map(|(&t, kept)| {
                let slot = slots[kept.slot];
                (t, Kept { slot, ..*kept })
            })
            .collect();
        let submits = Submits::new(&plan);
        self.plans.push(Compiled {
            calls,
            submits,
            kept,
        });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn run(&mut self, id: PlanId) -> Result<()> {
        self.count_run();
        if self.plans[id.0].submits.is_timed() {
            return self.run_timed(id);
        }
        while self.queued.len() >= IN_FLIGHT {
            let oldest = self.queued.pop_front();
            self.device.wait(oldest)?;
        }
        self.queued.extend(self.submit(id));
        self.device.check()
    }

    fn profile(&mut self, id: PlanId) -> Result<Vec<f64>> {
        self.count_run();
        self.wait()?;
        profile::run(&self.device, &self.plans[id.0])
    }

    fn tune(&mut self, convolutions: &[Convolution], room: u64) -> Result<Option<Tuned>> {
        tune::tune(self, convolutions, room)
    }

    fn write(&mut self, tensor: TensorId, bytes: &[u8]) -> Result<()> {
        let (buffer, offset, size) = self.place(tensor)?;
        ensure!(
            size == bytes.len(),
            "{} bytes for a tensor of {size}",
            bytes.len()
        );
        let (whole, offset) = (bytes.len() / 4 * 4, offset as u64);
        let queue = &self.device.queue;
        queue.write_buffer(buffer, offset, &bytes[..whole]);
        if whole < bytes.len() {
            // Copies go by words: the rest of the last one is padding.
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            queue.write_buffer(buffer, offset + whole as u64, &word);
        }
        self.device.check()
    }

    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        let (buffer, offset, size) = self.place(tensor)?;
        self.device.download(buffer, offset, size)
    }

    fn read_value(&mut self, id: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        let kept = self.plans[id.0].kept.get(&tensor);
        let Kept {
            slot,
            offset,
            bytes,
        } = *kept.context("the plan does not keep this value")?;
        self.device.download(&self.pool[slot], offset, bytes)
    }

    fn wait(&mut self) -> Result<()> {
        self.queued.clear();
        self.device.wait(None)
    }
}

/// Sizes of buffers, bindings and copies are whole words; an empty tensor still has one.
fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(4).max(4) as u64
}
