//! Adapters, and the device opened on one of them, whose errors are kept instead of panicking.
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longer than any run of a plan on the slowest software adapter.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// How a device is opened. The default is what training uses; tests take the other paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Keeps wgpu's run-time checks in the kernels: bounds, loops, zeroed workgroup memory.
    pub checked: bool,
    /// Pretends that no more bytes may be bound at once.
    pub max_binding: Option<usize>,
}

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
    adapter: wgpu::Adapter,
}

impl AdapterReport {
    /// Whether the adapter computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.adapter.get_info().device_type == wgpu::DeviceType::Cpu
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
/// `WGPU_BACKEND` chooses other backends.
pub fn adapters() -> Vec<AdapterReport> {
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY);
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
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

/// An opened adapter.
pub struct Device {
    pub name: String,
    pub memory: Option<u64>,
    pub software: bool,
    pub wgpu: wgpu::Device,
    pub queue: wgpu::Queue,
    /// The first error that the driver or a validation reported.
    error: Arc<Mutex<Option<String>>>,
}

impl Device {
    pub fn open(report: &AdapterReport) -> Result<Device> {
        let required_limits = report.adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            required_limits,
            ..Default::default()
        };
        let (wgpu, queue) = pollster::block_on(report.adapter.request_device(&descriptor))
            .with_context(|| format!("opening {}", report.name))?;
        let error = Arc::new(Mutex::new(None));
        let keep = |error: &Arc<Mutex<Option<String>>>| {
            let error = Arc::clone(error);
            move |message: String| {
                let mut first = error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(message);
            }
        };
        let (on_error, on_lost) = (keep(&error), keep(&error));
        wgpu.on_uncaptured_error(Arc::new(move |e: wgpu::Error| on_error(e.to_string())));
        wgpu.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                on_lost(format!("the device was lost: {message}"));
            }
        });
        let name = format!("{} ({})", report.name, report.backend);
        let (memory, software) = (report.memory, report.is_software());
        Ok(Device {
            name,
            memory,
            software,
            wgpu,
            queue,
            error,
        })
    }

    /// The first error reported so far.
    pub fn check(&self) -> Result<()> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match &*error {
            Some(message) => bail!("{} failed: {message}", self.name),
            None => Ok(()),
        }
    }

    /// Waits for a submission, or for all.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = wgpu::PollType::Wait {
            submission_index: submission,
            timeout: Some(TIMEOUT),
        };
        let waited = self.wgpu.poll(poll);
        self.check()?;
        waited.with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }
}
