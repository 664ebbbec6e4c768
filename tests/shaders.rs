//! Every kernel that the cases launch, without any GPU: naga must read, validate and translate it
//! for Vulkan, Metal and DX12, and it must stay within what WebGPU guarantees everywhere.
use crate::cases;
use naga::back::{hlsl, msl, spv};
use naga::proc::Layouter;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, EntryPoint, Module, ShaderStage};
use resnet::ops::{Kernel, Shader};
use std::collections::HashSet;

/// WebGPU's guarantees: `maxStorageBuffersPerShaderStage`, `maxComputeInvocationsPerWorkgroup`
/// and `maxComputeWorkgroupStorageSize`.
const STORAGE_BINDINGS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16_384;

#[test]
fn kernels_translate_and_are_portable() {
    let mut seen: HashSet<Kernel> = HashSet::new();
    for case in cases::all() {
        for node in case.g.nodes() {
            let descs = |ts: &[_]| ts.iter().map(|&t| case.g.desc(t)).collect::<Vec<_>>();
            let (inputs, outputs) = (descs(&node.inputs), descs(&node.outputs));
            let launch = node.op.def().launch(&inputs, &outputs);
            if seen.insert(launch.kernel) {
                check(launch.kernel, inputs.len(), outputs.len());
            }
        }
    }
    nothing_is_left_out(&seen);
}

/// Every file of `shaders/` but the common part, and every entry point, belongs to some case.
fn nothing_is_left_out(seen: &HashSet<Kernel>) {
    for kernel in seen {
        let module = naga::front::wgsl::parse_str(&kernel.shader.wgsl()).expect("checked before");
        for entry in &module.entry_points {
            let of_entry = |k: &Kernel| k.shader == kernel.shader && k.entry == entry.name;
            assert!(
                seen.iter().any(of_entry),
                "no case launches {} of {:?}",
                entry.name,
                kernel.shader
            );
        }
    }
    let names: Vec<String> = seen
        .iter()
        .map(|kernel| match kernel.shader {
            Shader::Plain(name) => name.to_string(),
            Shader::Conv2d(_) => "conv2d".to_string(),
        })
        .collect();
    for file in std::fs::read_dir("shaders").unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            stem == "common" || names.iter().any(|name| name == stem),
            "no case uses {}",
            path.display()
        );
    }
}

fn check(kernel: Kernel, inputs: usize, outputs: usize) {
    let source = kernel.shader.wgsl();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|e| panic!("{kernel:?}: {}", e.emit_to_string(&source)));
    // No capability beyond WebGPU's core.
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{kernel:?}: {}", e.emit_to_string(&source)));
    let index = module
        .entry_points
        .iter()
        .position(|e| e.name == kernel.entry);
    let index = index.unwrap_or_else(|| panic!("{kernel:?}: no such entry point"));
    portable(kernel, &module, &info, index, inputs + outputs);
    translate(kernel, &module, &info);
}

fn portable(kernel: Kernel, module: &Module, info: &ModuleInfo, index: usize, tensors: usize) {
    let entry: &EntryPoint = &module.entry_points[index];
    let used = info.get_entry_point(index);
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let (mut bindings, mut workgroup_bytes) = (HashSet::new(), 0);
    for (handle, variable) in module.global_variables.iter() {
        if used[handle].is_empty() {
            continue;
        }
        match variable.space {
            AddressSpace::Storage { .. } => {
                let binding = variable.binding.expect("storage is bound");
                assert!(
                    bindings.insert(binding.binding),
                    "{kernel:?}: {binding:?} twice"
                );
            }
            AddressSpace::WorkGroup => {
                workgroup_bytes += layouter[variable.ty].size.next_multiple_of(16)
            }
            _ => {}
        }
    }
    let invocations: u32 = entry.workgroup_size.iter().product();
    assert!(
        bindings.len() <= STORAGE_BINDINGS,
        "{kernel:?}: {} buffers",
        bindings.len()
    );
    assert!(
        bindings.iter().all(|&b| (1..=tensors as u32).contains(&b)),
        "{kernel:?}: bindings {bindings:?} for {tensors} tensors"
    );
    assert!(
        invocations <= INVOCATIONS,
        "{kernel:?}: {invocations} invocations"
    );
    assert!(
        workgroup_bytes <= WORKGROUP_BYTES,
        "{kernel:?}: {workgroup_bytes} B of workgroup memory"
    );
}

/// Writes the kernel for the three APIs as wgpu does.
fn translate(kernel: Kernel, module: &Module, info: &ModuleInfo) {
    let spirv = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: kernel.entry.to_string(),
    };
    spv::write_vec(module, info, &spv::Options::default(), Some(&spirv))
        .unwrap_or_else(|e| panic!("{kernel:?}: SPIR-V: {e}"));

    let entry_point = Some((ShaderStage::Compute, kernel.entry.to_string()));
    let options = msl::Options {
        lang_version: (2, 0),
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: entry_point.clone(),
        ..Default::default()
    };
    msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|e| panic!("{kernel:?}: MSL: {e}"));

    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions { entry_point };
    hlsl::Writer::new(&mut text, &hlsl::Options::default(), &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{kernel:?}: HLSL: {e}"));
}
