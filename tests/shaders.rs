//! Every kernel that the cases and whole training steps launch, without any GPU: naga must read, validate
//! and translate it for Vulkan, Metal and DX12, Khronos' validator must accept the SPIR-V, and it must
//! stay within what WebGPU guarantees everywhere. Every launch must fill its kernel's uniform block.
use crate::training::resnet18;
use crate::{cases, cooperative, half};
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy, Layouter};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, ArraySize, EntryPoint, Handle, Module, ShaderStage, Type, TypeInner};
use resnet::data::{self, Preprocess};
use resnet::ops::tuning::TuningTable;
use resnet::ops::{ConvKernel, Cooperative, Kernel, Launch, Shader, UpdateKernel};
use resnet::plan::{Limits, Plan, descs};
use resnet::tensor::DType;
use resnet::train::{Feed, Optimizer, Program, SessionSpec, StepPlans};
use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// WebGPU's guarantees: `maxStorageBuffersPerShaderStage`, `maxComputeInvocationsPerWorkgroup`
/// and `maxComputeWorkgroupStorageSize`.
const STORAGE_BINDINGS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16_384;

/// What Apple's GPUs have, the least of all that have cooperative matrices.
const COOPERATIVE_WORKGROUP_BYTES: u32 = 32_768;

#[test]
fn kernels_translate_and_are_portable() {
    let mut seen = Seen::default();
    for dispatch in steps().iter().flat_map(|plan| &plan.dispatches) {
        let (inputs, outputs) = (descs(&dispatch.inputs), descs(&dispatch.outputs));
        let launch = dispatch.op.def().launch(&inputs, &outputs);
        for shader in launch.kernel.shader.in_every_tile() {
            let entry = launch.kernel.entry;
            seen.check(Kernel { shader, entry }, inputs.len(), outputs.len());
        }
        seen.check_params(&launch);
    }
    for case in cases::all().into_iter().chain(half::cases()) {
        for node in case.g.nodes() {
            let descs = |ts: &[_]| ts.iter().map(|&t| case.g.desc(t)).collect::<Vec<_>>();
            let (inputs, outputs) = (descs(&node.inputs), descs(&node.outputs));
            let launch = node.op.def().launch(&inputs, &outputs);
            seen.check(launch.kernel, inputs.len(), outputs.len());
            seen.check_params(&launch);
        }
    }
    nothing_is_left_out(&seen.0.into_keys().collect());
}

/// The kernels that were checked, with the 32-bit words of their uniform blocks.
#[derive(Default)]
struct Seen(HashMap<Kernel, usize>);

impl Seen {
    /// Checks a kernel that was not seen yet.
    fn check(&mut self, kernel: Kernel, inputs: usize, outputs: usize) {
        let words = || check(kernel, inputs, outputs);
        self.0.entry(kernel).or_insert_with(words);
    }

    /// A launch of a kernel that was checked has a parameter for every word of its uniform block.
    fn check_params(&self, launch: &Launch) {
        let (words, params) = (self.0[&launch.kernel], launch.params.len());
        assert_eq!(words, params, "parameters of {:?}", launch.kernel);
    }
}

/// The variants of training steps and cases whose products are those of cooperative matrices. They are not for
/// every GPU: DX12 has none (naga's HLSL writer has no such matrices), and they take more workgroup memory.
#[test]
fn cooperative_kernels_translate_where_there_are_such_matrices() {
    for unit in Cooperative::all() {
        let mut seen = Seen::default();
        for dispatch in steps().iter().flat_map(|plan| &plan.dispatches) {
            let launch = dispatch.launch();
            let multiplied = launch.clone().multiplied_by(Some(unit));
            if multiplied != launch {
                let (inputs, outputs) = (dispatch.inputs.len(), dispatch.outputs.len());
                seen.check(multiplied.kernel, inputs, outputs);
                seen.check_params(&multiplied);
            }
        }
        for case in cooperative::cases() {
            for node in case.g.nodes() {
                let kernel = cooperative::kernel(&case, node, unit).unwrap();
                seen.check(kernel, node.inputs.len(), node.outputs.len());
            }
        }
        assert!(seen.0.len() > 20, "{} kernels of {unit:?}", seen.0.len());
    }
}

/// Every file of `shaders/` but what is put before others, and every entry point, belongs to some case.
fn nothing_is_left_out(seen: &HashSet<Kernel>) {
    for kernel in seen {
        let module = naga::front::wgsl::parse_str(&kernel.shader.wgsl()).expect("checked before");
        for entry in &module.entry_points {
            // What touches no image is launched from the f32 module alone.
            let same = |shader: Shader| match (shader, kernel.shader) {
                (Shader::Stored(a, _), Shader::Stored(b, _)) => a == b,
                (Shader::Lanes(a, _, x), Shader::Lanes(b, _, y)) => (a, x) == (b, y),
                (a, b) => a == b,
            };
            let of_entry = |k: &Kernel| same(k.shader) && k.entry == entry.name;
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
            Shader::Plain(file) | Shader::Stored(file, _) | Shader::Lanes(file, ..) => {
                file.name.to_string()
            }
            Shader::Conv2d(_) => "conv2d".to_string(),
            Shader::Stem(_) => "conv2d_stem".to_string(),
            Shader::Update(_) => "update".to_string(),
        })
        .collect();
    for file in std::fs::read_dir("shaders").unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            ["common", "lanes", "lanes_vec4"].contains(&stem)
                || names.iter().any(|name| name == stem),
            "no case uses {}",
            path.display()
        );
    }
    assert!(names.iter().any(|name| name == "conv2d_stem"));
    let folders = [
        ("shaders/conv2d", &ConvKernel::SOURCES[..]),
        ("shaders/update", &UpdateKernel::SOURCES),
    ];
    for (folder, sources) in folders {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            let known = sources.contains(&source.as_str());
            assert!(known, "no kernel has {}", path.display());
        }
    }
}

/// Checks a kernel and returns the 32-bit words of its uniform block.
fn check(kernel: Kernel, inputs: usize, outputs: usize) -> usize {
    let source = kernel.shader.wgsl();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|e| panic!("{kernel:?}: {}", e.emit_to_string(&source)));
    // No capability beyond WebGPU's core, but for its optional f16 and what matrices need.
    let mut capabilities = match kernel.shader.stored() {
        DType::F16 => Capabilities::SHADER_FLOAT16,
        _ => Capabilities::empty(),
    };
    if kernel.shader.is_cooperative() {
        capabilities |= Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{kernel:?}: {}", e.emit_to_string(&source)));
    let index = module
        .entry_points
        .iter()
        .position(|e| e.name == kernel.entry);
    let index = index.unwrap_or_else(|| panic!("{kernel:?}: no such entry point"));
    portable(kernel, &module, &info, index, inputs + outputs);
    translate(kernel, &module, &info);
    uniform_words(kernel, &module, &info, index)
}

/// The words of the uniform block, which a launch fills in their order: so it may have no gaps.
fn uniform_words(kernel: Kernel, module: &Module, info: &ModuleInfo, index: usize) -> usize {
    let mut uniforms = module.global_variables.iter();
    let used = info.get_entry_point(index);
    let uniform = uniforms.find(|(handle, variable)| {
        variable.space == AddressSpace::Uniform && !used[*handle].is_empty()
    });
    let (_, uniform) = uniform.unwrap_or_else(|| panic!("{kernel:?}: no uniform block"));
    let binding = uniform.binding.expect("a uniform block is bound");
    assert_eq!((binding.group, binding.binding), (0, 0), "{kernel:?}");
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let words = words(module, uniform.ty);
    let size = layouter[uniform.ty].size as usize;
    assert_eq!(4 * words, size, "{kernel:?}: gaps in the uniform block");
    words
}

/// 32-bit numbers that a type holds.
fn words(module: &Module, ty: Handle<Type>) -> usize {
    match &module.types[ty].inner {
        TypeInner::Scalar(scalar) => usize::from(scalar.width / 4),
        TypeInner::Vector { size, scalar } => *size as usize * usize::from(scalar.width / 4),
        TypeInner::Array {
            base,
            size: ArraySize::Constant(count),
            ..
        } => count.get() as usize * words(module, *base),
        TypeInner::Struct { members, .. } => {
            members.iter().map(|member| words(module, member.ty)).sum()
        }
        other => panic!("{other:?} in a uniform block"),
    }
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
    let most = match kernel.shader {
        Shader::Conv2d(conv) if conv.cooperative.is_some() => {
            assert!(workgroup_bytes <= Cooperative::WORKGROUP_BYTES);
            COOPERATIVE_WORKGROUP_BYTES
        }
        _ => WORKGROUP_BYTES,
    };
    assert!(
        workgroup_bytes <= most,
        "{kernel:?}: {workgroup_bytes} B of workgroup memory"
    );
}

/// Writes the kernel for the three APIs as wgpu does, for Vulkan with and without run-time checks; for DX12 where
/// it has what the kernel needs.
fn translate(kernel: Kernel, module: &Module, info: &ModuleInfo) {
    let pipeline = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: kernel.entry.to_string(),
    };
    for policy in [BoundsCheckPolicy::Unchecked, BoundsCheckPolicy::Restrict] {
        let options = spv::Options {
            lang_version: spirv_version(kernel),
            bounds_check_policies: BoundsCheckPolicies {
                index: policy,
                buffer: policy,
                ..Default::default()
            },
            ..Default::default()
        };
        let words = spv::write_vec(module, info, &options, Some(&pipeline))
            .unwrap_or_else(|e| panic!("{kernel:?}: SPIR-V: {e}"));
        spirv_val(kernel, bytemuck::cast_slice(&words));
    }

    let entry_point = Some((ShaderStage::Compute, kernel.entry.to_string()));
    let options = msl::Options {
        // The first with matrices of a subgroup is 2.3.
        lang_version: match kernel.shader.is_cooperative() {
            true => (2, 3),
            false => (2, 0),
        },
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: entry_point.clone(),
        ..Default::default()
    };
    msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|e| panic!("{kernel:?}: MSL: {e}"));

    if kernel.shader.is_cooperative() {
        return;
    }
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions { entry_point };
    let options = hlsl::Options {
        // The first with types of 16 bits.
        shader_model: match kernel.shader.stored() {
            DType::F16 => hlsl::ShaderModel::V6_2,
            _ => hlsl::Options::default().shader_model,
        },
        ..Default::default()
    };
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{kernel:?}: HLSL: {e}"));
}

/// Matrices come with Vulkan 1.3's drivers, for which wgpu writes another version.
fn spirv_version(kernel: Kernel) -> (u8, u8) {
    match kernel.shader.is_cooperative() {
        true => (1, 6),
        false => spv::Options::default().lang_version,
    }
}

/// Asks Khronos' validator. Where it is not installed it is left out with a word on stderr, unless
/// `RESNET_REQUIRE_GPU=1` says that this machine is to check everything.
fn spirv_val(kernel: Kernel, spirv: &[u8]) {
    let environment = match spirv_version(kernel) {
        (1, 6) => "vulkan1.3",
        _ => "vulkan1.1",
    };
    let spawned = Command::new("spirv-val")
        .args(["--target-env", environment, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let required = std::env::var("RESNET_REQUIRE_GPU").is_ok_and(|v| v == "1");
            assert!(!required, "spirv-val is not installed (spirv-tools)");
            eprintln!("SKIPPED: spirv-val, which is not installed (spirv-tools)");
            return;
        }
        spawned => spawned.unwrap(),
    };
    child.stdin.take().unwrap().write_all(spirv).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // CooperativeMatrixKHR, which validators from before the summer of 2023 do not know.
    if kernel.shader.is_cooperative() && said.contains("Invalid capability operand: 6022") {
        eprintln!("SKIPPED: spirv-val, which is too old for cooperative matrices");
        return;
    }
    assert!(output.status.success(), "{kernel:?}: spirv-val: {said}");
}

/// Training and evaluation steps of the ResNet-18 that `resnet train` trains, large and small.
/// A small one is done in two passes too.
fn steps() -> Vec<Plan> {
    let data = data::sample().unwrap();
    let mut plans = Vec::new();
    let both = [DType::F32, DType::F16];
    for (batch_size, image_size, micro_batch, fuse, stored) in both.into_iter().flat_map(|stored| {
        [
            (256, 96, None, false, stored),
            (4, 28, None, false, stored),
            (256, 96, None, true, stored),
            (4, 28, None, true, stored),
            (4, 28, Some(2), true, stored),
        ]
    }) {
        let spec = SessionSpec {
            arch: resnet18(1),
            batch_size,
            micro_batch,
            preprocess: Preprocess::of_size(image_size),
            feed: Feed::Resident,
            augmentation: None,
            views: false,
            limit_batches: Some(1),
            optimizer: Some(Optimizer::sgd(0.9, false, 1e-4)),
            fuse,
            stored,
            tilings: TuningTable::default(),
        };
        let prepared = StepPlans::new(&spec, &data, Limits::NONE).unwrap();
        for program in [Program::Train, Program::Evaluate] {
            plans.extend(prepared.runs(program).into_iter().cloned());
        }
    }
    plans
}
