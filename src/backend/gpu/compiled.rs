//! A plan on the device: its dispatches with everything prebuilt.
use super::device::{Device, padded};
use super::pipelines::{Arity, Pipelines};
use super::submits::Submits;
use crate::graph::TensorId;
use crate::ops::Launch;
use crate::plan::{Binding, Dispatch, KeptValue, Plan};
use anyhow::Result;
use std::collections::BTreeMap;

/// A plan that is ready to run.
pub struct Compiled {
    pub calls: Vec<Call>,
    pub submits: Submits,
    /// Values that can be read; their slots are numbers of the pool's buffers.
    pub kept: BTreeMap<TensorId, KeptValue>,
}

/// A dispatch with everything prebuilt.
pub struct Call {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: [u32; 3],
}

impl Call {
    pub fn encode(&self, pass: &mut wgpu::ComputePass) {
        let [x, y, z] = self.groups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// The calls of a plan; `behind` tells the buffer that a binding lies in.
///
/// # Errors
/// When a kernel does not compile.
pub fn calls<'b>(
    plan: &Plan,
    device: &Device,
    pipelines: &mut Pipelines,
    behind: impl Fn(&Binding) -> &'b wgpu::Buffer,
) -> Result<Vec<Call>> {
    let launches: Vec<Launch> = plan.dispatches.iter().map(Dispatch::launch).collect();
    let arities = plan.dispatches.iter().map(|d| Arity {
        inputs: d.inputs.len(),
        outputs: d.outputs.len(),
    });
    let kernels: Vec<_> = launches.iter().map(|l| l.kernel).zip(arities).collect();
    pipelines.compile(device, &kernels)?;

    let (uniforms, offsets) = uniforms(device, &launches);
    let mut calls = Vec::with_capacity(launches.len());
    for ((dispatch, launch), offset) in plan.dispatches.iter().zip(launches).zip(offsets) {
        let Dispatch {
            inputs, outputs, ..
        } = dispatch;
        let pipeline = pipelines.get(launch.kernel);
        let params = (launch.params.len() * 4).next_multiple_of(16);
        let mut entries = vec![entry(0, &uniforms, offset, params)];
        for (i, b) in inputs.iter().chain(outputs).enumerate() {
            entries.push(entry(i + 1, behind(b), b.offset, b.desc.bytes()));
        }
        let bindings = device.wgpu.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.op.def().name()),
            layout: &pipeline.layout,
            entries: &entries,
        });
        calls.push(Call {
            pipeline: pipeline.pipeline.clone(),
            bindings,
            groups: launch.groups,
        });
    }
    Ok(calls)
}

/// All uniform blocks in one buffer, each at an offset that the device can bind.
fn uniforms(device: &Device, launches: &[Launch]) -> (wgpu::Buffer, Vec<usize>) {
    let align = device.wgpu.limits().min_uniform_buffer_offset_alignment as usize;
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for launch in launches {
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        offsets.push(bytes.len());
        bytes.extend_from_slice(bytemuck::cast_slice(&launch.params));
        // WGSL rounds the size of a uniform block up to 16.
        bytes.resize(bytes.len().next_multiple_of(16), 0);
    }
    use wgpu::BufferUsages as Usage;
    let buffer = device.buffer(bytes.len(), Usage::UNIFORM | Usage::COPY_DST);
    device.queue.write_buffer(&buffer, 0, &bytes);
    (buffer, offsets)
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
