//! Compute pipelines, compiled once per kernel and many at a time.
use super::cache::Cache;
use super::device::Device;
use crate::ops::{Kernel, Shader};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The pipelines and modules made so far.
pub struct Pipelines {
    checked: bool,
    cache: Option<Cache>,
    modules: HashMap<Shader, wgpu::ShaderModule>,
    layouts: HashMap<Arity, wgpu::BindGroupLayout>,
    pipelines: HashMap<Kernel, Pipeline>,
}

/// How many buffers a kernel reads and how many it writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Arity {
    pub inputs: usize,
    pub outputs: usize,
}

/// A pipeline with the layout of its bindings.
#[derive(Clone)]
pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Pipelines {
    /// `checked` keeps wgpu's run-time checks in the kernels: bounds, loops, zeroed workgroup memory.
    pub fn new(checked: bool, cache: Option<Cache>) -> Pipelines {
        let (modules, layouts, pipelines) = Default::default();
        Pipelines {
            checked,
            cache,
            modules,
            layouts,
            pipelines,
        }
    }

    /// A pipeline that [`Self::compile`] made.
    pub fn get(&self, kernel: Kernel) -> &Pipeline {
        &self.pipelines[&kernel]
    }

    /// Compiles those of the kernels that are not there yet, on all cores.
    ///
    /// # Errors
    /// When the driver refuses a kernel, which is then named.
    pub fn compile(&mut self, device: &Device, kernels: &[(Kernel, Arity)]) -> Result<()> {
        // In the order of their first use, so that what a driver prints of them can be told apart.
        let mut seen = HashSet::new();
        let mut is_missing =
            |kernel: Kernel| !self.pipelines.contains_key(&kernel) && seen.insert(kernel);
        let mut missing = kernels.to_vec();
        missing.retain(|&(kernel, _)| is_missing(kernel));
        if missing.is_empty() {
            return Ok(());
        }
        for &(_, arity) in &missing {
            let layout = || bind_group_layout(&device.wgpu, arity);
            self.layouts.entry(arity).or_insert_with(layout);
        }
        let bar = ProgressBar::new(missing.len() as u64);
        let style = ProgressStyle::with_template("{spinner} compiling kernels {pos}/{len}");
        bar.set_style(style.expect("a well-formed template"));
        bar.enable_steady_tick(Duration::from_millis(100));

        // Several kernels may lie in one module.
        let mut shaders: HashSet<Shader> =
            missing.iter().map(|(kernel, _)| kernel.shader).collect();
        shaders.retain(|shader| !self.modules.contains_key(shader));
        let checked = self.checked;
        let modules = shaders.into_par_iter().map(|shader| {
            let made = device.scoped(|| module(&device.wgpu, shader, checked));
            let made = made.with_context(|| format!("reading the shader {}", shader.label()))?;
            Ok((shader, made))
        });
        self.modules.extend(modules.collect::<Result<Vec<_>>>()?);
        let pipelines = missing.into_par_iter().map(|(kernel, arity)| {
            let made = device.scoped(|| self.pipeline(device, kernel, arity));
            bar.inc(1);
            let made = made.with_context(|| format!("compiling the kernel {}", kernel.label()))?;
            Ok((kernel, made))
        });
        let pipelines = pipelines.collect::<Result<Vec<_>>>()?;
        self.pipelines.extend(pipelines);
        bar.finish_and_clear();
        if let Some(cache) = &self.cache {
            cache.save();
        }
        Ok(())
    }

    fn pipeline(&self, device: &Device, kernel: Kernel, arity: Arity) -> Pipeline {
        let layout = self.layouts[&arity].clone();
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
                module: &self.modules[&kernel.shader],
                entry_point: Some(kernel.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: self.checked,
                    ..Default::default()
                },
                cache: self.cache.as_ref().map(|cache| &cache.wgpu),
            });
        Pipeline { pipeline, layout }
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

fn bind_group_layout(device: &wgpu::Device, arity: Arity) -> wgpu::BindGroupLayout {
    let Arity { inputs, outputs } = arity;
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
