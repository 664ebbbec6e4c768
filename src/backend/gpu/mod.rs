//! The wgpu backend: Vulkan, Metal or DX12. One encoder, one pass and one submit per run of a plan.
mod device;
mod pipelines;

pub use device::{AdapterReport, Options, adapters};

use super::cpu::host;
use super::{Assignment, Backend, PlanId};
use crate::graph::TensorId;
use crate::plan::{Binding, Dispatch, Limits, Place, Plan, descs};
use anyhow::{Context, Result, ensure};
use device::Device;
use pipelines::Pipelines;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Runs that may be queued before the host waits for the oldest.
const IN_FLIGHT: usize = 2;

/// Runs plans on an adapter.
pub struct Gpu {
    device: Device,
    pipelines: Pipelines,
    /// Inputs and states with their sizes in bytes.
    owned: HashMap<TensorId, (wgpu::Buffer, usize)>,
    pool: Vec<wgpu::Buffer>,
    plans: Vec<Compiled>,
    queued: VecDeque<wgpu::SubmissionIndex>,
    max_binding: usize,
}

struct Compiled {
    calls: Vec<Call>,
    /// Values that can be read: their buffer in the pool and their size in bytes.
    kept: BTreeMap<TensorId, (usize, usize)>,
}

/// A dispatch with everything prebuilt.
struct Call {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: [u32; 3],
}

impl Gpu {
    /// Opens an adapter of [`adapters`].
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn open(adapter: &AdapterReport, options: Options) -> Result<Gpu> {
        let device = Device::open(adapter)?;
        let offered = device.wgpu.limits().max_storage_buffer_binding_size;
        let offered = usize::try_from(offered).context("the binding limit")?;
        Ok(Gpu {
            max_binding: options.max_binding.unwrap_or(offered).min(offered),
            pipelines: Pipelines::new(options.checked),
            device,
            owned: HashMap::new(),
            pool: Vec::new(),
            plans: Vec::new(),
            queued: VecDeque::new(),
        })
    }

    fn buffer(&self, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: padded(bytes),
            usage,
            mapped_at_creation: false,
        })
    }

    fn storage(&self, bytes: usize) -> wgpu::Buffer {
        use wgpu::BufferUsages as Usage;
        self.buffer(bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    /// The calls of a plan whose slots are played by these pool buffers.
    fn calls(&mut self, plan: &Plan, slots: &[usize]) -> Result<Vec<Call>> {
        let launches: Vec<_> = plan
            .dispatches
            .iter()
            .map(|d| d.op.def().launch(&descs(&d.inputs), &descs(&d.outputs)))
            .collect();
        // All uniform blocks lie in one buffer, each at an offset the device can bind.
        let align = self
            .device
            .wgpu
            .limits()
            .min_uniform_buffer_offset_alignment as usize;
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for launch in &launches {
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            offsets.push(bytes.len());
            bytes.extend_from_slice(bytemuck::cast_slice(&launch.params));
            // WGSL rounds the size of a uniform block up to 16.
            bytes.resize(bytes.len().next_multiple_of(16), 0);
        }
        let uniforms = self.buffer(
            bytes.len(),
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        );
        self.device.queue.write_buffer(&uniforms, 0, &bytes);

        let mut calls = Vec::with_capacity(launches.len());
        for ((dispatch, launch), offset) in plan.dispatches.iter().zip(launches).zip(offsets) {
            let Dispatch {
                inputs, outputs, ..
            } = dispatch;
            let pipeline =
                self.pipelines
                    .get(&self.device, launch.kernel, inputs.len(), outputs.len());
            let params = (launch.params.len() * 4).next_multiple_of(16);
            let mut entries = vec![entry(0, &uniforms, offset, params)];
            for (i, b) in inputs.iter().chain(outputs).enumerate() {
                entries.push(entry(
                    i + 1,
                    self.behind(b, slots),
                    b.offset,
                    b.desc.bytes(),
                ));
            }
            let bindings = self
                .device
                .wgpu
                .create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(dispatch.op.def().name()),
                    layout: &pipeline.layout,
                    entries: &entries,
                });
            calls.push(Call {
                pipeline: pipeline.pipeline,
                bindings,
                groups: launch.groups,
            });
        }
        Ok(calls)
    }

    fn behind(&self, binding: &Binding, slots: &[usize]) -> &wgpu::Buffer {
        match binding.place {
            Place::Own(t) => &self.owned[&t].0,
            Place::Slot(slot) => &self.pool[slots[slot]],
        }
    }

    /// Copies the first bytes of a buffer to the host, after everything queued.
    fn download(&self, buffer: &wgpu::Buffer, bytes: usize) -> Result<Vec<u8>> {
        use wgpu::BufferUsages as Usage;
        let staging = self.buffer(bytes, Usage::MAP_READ | Usage::COPY_DST);
        let mut encoder = self.device.wgpu.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, padded(bytes));
        self.device.queue.submit([encoder.finish()]);
        let (send, receive) = std::sync::mpsc::channel();
        // A receiver that is gone means that this function already returned an error.
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            drop(send.send(result))
        });
        self.device.wait(None)?;
        receive
            .recv()
            .context("the device dropped a read")?
            .context("reading from the device")?;
        let view = staging
            .get_mapped_range(..)
            .context("reading from the device")?;
        Ok(view[..bytes].to_vec())
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
        }
    }

    fn memory(&self) -> Result<Option<u64>> {
        // A software adapter names all of the machine's memory, much of which may be taken.
        Ok(match self.device.memory {
            Some(memory) if self.device.software => Some(memory.min(host::available_memory()?)),
            memory => memory,
        })
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
        let most = self.device.wgpu.limits().max_buffer_size;
        ensure!(
            largest as u64 <= most,
            "a tensor of {largest} bytes exceeds the {most} bytes that {} allows for one buffer",
            self.device.name
        );
        for (&tensor, &bytes) in &plan.owned {
            if !self.owned.contains_key(&tensor) {
                self.owned.insert(tensor, (self.storage(bytes), bytes));
            }
        }
        let sizes: Vec<usize> = self.pool.iter().map(|b| b.size() as usize).collect();
        let Assignment { slots, new } = super::assign(&plan.slots, &sizes);
        for bytes in new {
            let buffer = self.storage(bytes);
            self.pool.push(buffer);
        }
        let calls = self.calls(&plan, &slots)?;
        self.device.check()?;
        let kept = plan
            .kept
            .iter()
            .map(|(&t, kept)| (t, (slots[kept.slot], kept.bytes)))
            .collect();
        self.plans.push(Compiled { calls, kept });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn run(&mut self, id: PlanId) -> Result<()> {
        while self.queued.len() >= IN_FLIGHT {
            let oldest = self.queued.pop_front();
            self.device.wait(oldest)?;
        }
        let mut encoder = self.device.wgpu.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for call in &self.plans[id.0].calls {
                let [x, y, z] = call.groups;
                pass.set_pipeline(&call.pipeline);
                pass.set_bind_group(0, &call.bindings, &[]);
                pass.dispatch_workgroups(x, y, z);
            }
        }
        self.queued
            .push_back(self.device.queue.submit([encoder.finish()]));
        self.device.check()
    }

    fn write(&mut self, tensor: TensorId, bytes: &[u8]) -> Result<()> {
        let (buffer, size) = self
            .owned
            .get(&tensor)
            .context("no compiled plan has this input or state")?;
        ensure!(
            *size == bytes.len(),
            "{} bytes for a tensor of {size}",
            bytes.len()
        );
        let whole = bytes.len() / 4 * 4;
        self.device.queue.write_buffer(buffer, 0, &bytes[..whole]);
        if whole < bytes.len() {
            // Copies go by words: the rest of the last one is padding.
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.device.queue.write_buffer(buffer, whole as u64, &word);
        }
        self.device.check()
    }

    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        let (buffer, size) = self
            .owned
            .get(&tensor)
            .context("no compiled plan has this input or state")?;
        self.download(buffer, *size)
    }

    fn read_value(&mut self, id: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        let kept = self.plans[id.0].kept.get(&tensor);
        let (slot, size) = kept.context("the plan does not keep this value")?;
        self.download(&self.pool[*slot], *size)
    }

    fn wait(&mut self) -> Result<()> {
        self.queued.clear();
        self.device.wait(None)
    }
}

fn entry(
    number: usize,
    buffer: &wgpu::Buffer,
    offset: usize,
    bytes: usize,
) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(padded(bytes));
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset: offset as u64,
        size,
    });
    wgpu::BindGroupEntry {
        binding: number as u32,
        resource,
    }
}

/// Sizes of buffers, bindings and copies are whole words; an empty tensor still has one.
fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(4).max(4) as u64
}
