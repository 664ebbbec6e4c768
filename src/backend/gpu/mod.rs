//! The wgpu backend: Vulkan, Metal or DX12. One encoder, one pass and one submit per run of a
//! plan, unless that would keep the device busy for too long.
#![allow(unsafe_code)]

mod adapter;
mod cache;
mod compiled;
pub mod cooperative;
mod device;
mod executor;
mod pipelines;
mod profile;
mod submits;
mod tune;

pub use adapter::{AdapterReport, adapters};
pub use device::{Fault, Options, Tune};
pub use executor::Gpu;

use super::cpu::host;
use super::{Backend, PlanId, Tuned};
use crate::graph::TensorId;
use crate::ops::Cooperative;
use crate::ops::tuning::Convolution;
use crate::plan::{Binding, KeptValue, Limits, Place, Plan};
use anyhow::{Context, Result, ensure};
use compiled::Compiled;
use submits::Submits;

/// Runs that may be queued before the host waits for the oldest.
const IN_FLIGHT: usize = 2;

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
                (t, KeptValue { slot, ..*kept })
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
        self.device.upload(buffer, offset, bytes)
    }

    fn write_part(&mut self, tensor: TensorId, offset: usize, bytes: &[u8]) -> Result<()> {
        let (buffer, start, size) = self.place(tensor)?;
        ensure!(
            offset + bytes.len() <= size,
            "{} bytes from {offset} on for a tensor of {size}",
            bytes.len()
        );
        self.device.upload(buffer, start + offset, bytes)?;
        // The copy of them goes with the next submit.
        self.device.queue.submit([]);
        self.wait()
    }

    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        let (buffer, offset, size) = self.place(tensor)?;
        self.device.download(buffer, offset, size)
    }

    fn read_value(&mut self, id: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        let kept = self.plans[id.0].kept.get(&tensor);
        let KeptValue {
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
