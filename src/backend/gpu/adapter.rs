//! What adapters there are and what they offer, before one is opened.
use serde::Serialize;
use std::collections::BTreeMap;

/// What there is to know about an adapter before it is opened.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterReport {
    /// The card's name.
    pub name: String,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// DiscreteGpu, IntegratedGpu, VirtualGpu, Other, or Cpu for a software adapter.
    pub kind: String,
    /// Bytes of memory it computes in, where the driver tells.
    pub memory: Option<u64>,
    /// The most bytes that one storage binding may cover.
    pub max_storage_buffer_binding_size: u64,
    /// The largest buffer in bytes.
    pub max_buffer_size: u64,
    /// Bytes of workgroup memory.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations per workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Optional features that kernels may profit from, with whether the adapter has them.
    pub features: BTreeMap<&'static str, bool>,
    #[serde(skip)]
    pub(super) adapter: wgpu::Adapter,
}

impl AdapterReport {
    /// Whether the adapter computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.adapter.get_info().device_type == wgpu::DeviceType::Cpu
    }

    /// Whether wgpu can check kernels at run time here: bounds, loops, zeroed workgroup memory.
    ///
    /// On OpenGL it has only the last: naga writes no others into GLSL. And there one invocation assigns a literal of
    /// all elements (gfx-rs/wgpu#4592), with which llvmpipe on LLVM 15 takes 6 to 120 times as long to compile a
    /// kernel, half a minute and more, nearly all of it in the analysis of coroutines (llvm/llvm-project#62348).
    pub fn checks(&self) -> bool {
        self.adapter.get_info().backend != wgpu::Backend::Gl
    }

    /// For choosing the best: discrete, integrated, anything else, software.
    pub fn rank(&self) -> u8 {
        match self.adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
            wgpu::DeviceType::Cpu => 3,
        }
    }
}

/// Every adapter of the machine. GL is left out, since it shows the same cards with less to offer;
/// `WGPU_BACKEND` chooses other backends: GL too where this program was built with the feature `gl`.
pub fn adapters() -> Vec<AdapterReport> {
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY);
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        // What other programs hold counts too: better an error than a card that swaps.
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(97),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.into_iter().map(report).collect()
}

fn report(adapter: wgpu::Adapter) -> AdapterReport {
    let (info, limits, has) = (adapter.get_info(), adapter.limits(), adapter.features());
    let features = [
        ("shader-f16", wgpu::Features::SHADER_F16),
        ("subgroups", wgpu::Features::SUBGROUP),
        ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
        ("immediates", wgpu::Features::IMMEDIATES),
        (
            "cooperative matrix",
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        ),
    ];
    AdapterReport {
        memory: memory(&adapter),
        name: info.name,
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_string(),
        kind: format!("{:?}", info.device_type),
        max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
        max_buffer_size: limits.max_buffer_size,
        max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
        features: features
            .map(|(name, feature)| (name, has.contains(feature)))
            .into(),
        adapter,
    }
}

/// Bytes of the heaps that lie on the device. Only Vulkan tells; for the others a failed allocation
/// is the first that is heard of it.
#[cfg(not(target_vendor = "apple"))]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handles are only asked for properties and not kept beyond the adapter's borrow.
    unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = vulkan.shared_instance().raw_instance();
        let properties =
            instance.get_physical_device_memory_properties(vulkan.raw_physical_device());
        // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT is 1.
        let local = properties
            .memory_heaps_as_slice()
            .iter()
            .filter(|h| h.flags.as_raw() & 1 == 1);
        local.map(|heap| heap.size).max()
    }
}

#[cfg(target_vendor = "apple")]
fn memory(_: &wgpu::Adapter) -> Option<u64> {
    None
}
