//! Compute pipelines, compiled once per kernel.
use super::device::Device;
use crate::ops::{Kernel, Shader};
use std::collections::HashMap;

/// The pipelines and modules made so far.
pub struct Pipelines {
    checked: bool,
    modules: HashMap<Shader, wgpu::ShaderModule>,
    layouts: HashMap<(usize, usize), wgpu::BindGroupLayout>,
    pipelines: HashMap<Kernel, Pipeline>,
}

/// A pipeline with the layout of its bindings.
#[derive(Clone)]
pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Pipelines {
    /// `checked` keeps wgpu's run-time checks in the kernels: bounds, loops, zeroed workgroup memory.
    pub fn new(checked: bool) -> Pipelines {
        let (modules, layouts, pipelines) = Default::default();
        Pipelines {
            checked,
            modules,
            layouts,
            pipelines,
        }
    }

    /// The pipeline of a kernel that reads `inputs` buffers and writes `outputs`.
    pub fn get(
        &mut self,
        device: &Device,
        kernel: Kernel,
        inputs: usize,
        outputs: usize,
    ) -> Pipeline {
        if let Some(known) = self.pipelines.get(&kernel) {
            return known.clone();
        }
        let layout = self
            .layouts
            .entry((inputs, outputs))
            .or_insert_with(|| bind_group_layout(&device.wgpu, inputs, outputs))
            .clone();
        let checked = self.checked;
        let module = self
            .modules
            .entry(kernel.shader)
            .or_insert_with(|| module(&device.wgpu, kernel.shader, checked));
        let pipeline_layout = device
            .wgpu
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
        let pipeline = device
            .wgpu
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.entry),
                layout: Some(&pipeline_layout),
                module,
                entry_point: Some(kernel.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: checked,
                    ..Default::default()
                },
                cache: None,
            });
        let made = Pipeline { pipeline, layout };
        self.pipelines.insert(kernel, made.clone());
        made
    }
}

fn module(device: &wgpu::Device, shader: Shader, checked: bool) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(shader.wgsl().into());
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: None,
        source,
    };
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: without its checks a kernel must never index outside its bindings or loop for ever.
    // Every kernel guards the overhang of its dispatch, takes its geometry from the shapes that
    // its bindings were made with, and runs through the tests with the checks on and off.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

fn bind_group_layout(
    device: &wgpu::Device,
    inputs: usize,
    outputs: usize,
) -> wgpu::BindGroupLayout {
    let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    for i in 0..inputs + outputs {
        let read_only = i < inputs;
        entries.push(entry(i + 1, wgpu::BufferBindingType::Storage { read_only }));
    }
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    })
}
