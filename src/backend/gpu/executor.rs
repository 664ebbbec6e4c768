//! An opened adapter with the buffers and the compiled plans of one graph.
use super::AdapterReport;
use super::cache::Cache;
use super::compiled::Compiled;
use super::device::{Device, Fault, Options, Tune};
use super::pipelines::Pipelines;
use super::tune::Identity;
use crate::backend::pool::{Assignment, assign};
use crate::backend::{Backend, PlanId};
use crate::graph::TensorId;
use crate::ops::Cooperative;
use crate::plan::{Aliased, Plan};
use anyhow::{Context, Result};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Runs plans on an adapter.
pub struct Gpu {
    pub(super) device: Device,
    pub(super) pipelines: Pipelines,
    /// Inputs and states with their sizes in bytes.
    pub(super) owned: HashMap<TensorId, (wgpu::Buffer, usize)>,
    /// Inputs and states in the buffers of others.
    pub(super) parts: HashMap<TensorId, Aliased>,
    pub(super) pool: Vec<wgpu::Buffer>,
    pub(super) plans: Vec<Compiled>,
    pub(super) queued: VecDeque<wgpu::SubmissionIndex>,
    pub(super) max_binding: usize,
    pub(super) cooperative: Option<Cooperative>,
    pub(super) fault: Option<Fault>,
    pub(super) tune: Tune,
    pub(super) identity: Identity,
}

impl Gpu {
    /// Opens an adapter of [`super::adapters`].
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn open(adapter: &AdapterReport, options: Options) -> Result<Gpu> {
        let device = Device::open(adapter, options)?;
        let cache = Cache::open(&device, adapter);
        let offered = device.wgpu.limits().max_storage_buffer_binding_size;
        let offered = usize::try_from(offered).context("the binding limit")?;
        Ok(Gpu {
            max_binding: options
                .max_binding
                .unwrap_or(offered)
                .min(offered)
                .min(u32::MAX as usize),
            cooperative: options.cooperative,
            fault: options.fault,
            tune: options.tune,
            identity: Identity::of(adapter, options.cooperative),
            pipelines: Pipelines::new(options.checked && adapter.checks(), cache),
            device,
            owned: HashMap::new(),
            parts: HashMap::new(),
            pool: Vec::new(),
            plans: Vec::new(),
            queued: VecDeque::new(),
        })
    }

    pub(super) fn storage(&self, bytes: usize) -> wgpu::Buffer {
        use wgpu::BufferUsages as Usage;
        self.device
            .buffer(bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    /// Makes the buffers that the plan needs and that are not there yet; returns for each of its
    /// slots the number of the pool buffer that plays it.
    pub(super) fn allocate(&mut self, plan: &Plan) -> Vec<usize> {
        for (&tensor, &bytes) in &plan.owned {
            if !self.owned.contains_key(&tensor) {
                self.owned.insert(tensor, (self.storage(bytes), bytes));
            }
        }
        self.parts.extend(&plan.parts);
        let sizes: Vec<usize> = self.pool.iter().map(|b| b.size() as usize).collect();
        let Assignment { slots, new } = assign(&plan.slots, &sizes);
        for bytes in new {
            let buffer = self.storage(bytes);
            self.pool.push(buffer);
        }
        slots
    }

    /// The buffer of an input or a state, and its first byte and its size there.
    pub(super) fn place(&self, tensor: TensorId) -> Result<(&wgpu::Buffer, usize, usize)> {
        let part = self.parts.get(&tensor);
        let (buffer, size) = self
            .owned
            .get(&part.map_or(tensor, |part| part.of))
            .context("no compiled plan has this input or state")?;
        let (offset, bytes) = part.map_or((0, *size), |part| (part.offset, part.bytes));
        Ok((buffer, offset, bytes))
    }

    /// Queues a run in as few submits as the device's speed allows; returns the last one.
    pub(super) fn submit(&self, id: PlanId) -> Option<wgpu::SubmissionIndex> {
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
    pub(super) fn count_run(&mut self) {
        if let Some(fault) = &mut self.fault {
            match fault.after.checked_sub(1) {
                Some(after) => fault.after = after,
                None => self.device.fail(fault.failure),
            }
        }
    }

    /// Whether it can time its kernels.
    pub(super) fn has_timestamps(&self) -> bool {
        let features = self.device.wgpu.features();
        features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Gives back all buffers and plans; compiled kernels stay.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.wait()?;
        self.plans.clear();
        self.owned.clear();
        self.parts.clear();
        self.pool.clear();
        Ok(())
    }

    /// Runs a plan alone and takes its time, by which its submits are cut.
    pub(super) fn run_timed(&mut self, id: PlanId) -> Result<()> {
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
