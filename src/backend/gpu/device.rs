//! A device opened on an adapter. Its errors are kept and returned instead of panicking.
use super::adapter::AdapterReport;
use super::padded;
use anyhow::{Context, Result, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// Asks for WebGPU's default limits and no feature, as if the adapter had no more.
    pub portable: bool,
}

/// An opened adapter.
#[derive(Clone)]
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
    pub fn open(report: &AdapterReport, options: Options) -> Result<Device> {
        let adapter = &report.adapter;
        use wgpu::Features;
        let wanted = Features::TIMESTAMP_QUERY | Features::PIPELINE_CACHE | Features::SHADER_F16;
        let descriptor = match options.portable {
            true => wgpu::DeviceDescriptor::default(),
            false => wgpu::DeviceDescriptor {
                required_limits: adapter.limits(),
                required_features: adapter.features() & wanted,
                ..Default::default()
            },
        };
        let (wgpu, queue) = pollster::block_on(adapter.request_device(&descriptor))
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
        wgpu.set_device_lost_callback(move |_, message| {
            on_lost(format!("the device was lost: {message}"));
        });
        Ok(Device {
            name: format!("{} ({})", report.name, report.backend),
            memory: report.memory,
            software: report.is_software(),
            wgpu,
            queue,
            error,
        })
    }

    /// Does what may fail for want of memory or break a rule of the driver, and returns such an
    /// error of this thread instead of keeping it.
    pub fn scoped<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let invalid = self.wgpu.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.wgpu.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.wgpu.push_error_scope(wgpu::ErrorFilter::Internal);
        let done = work();
        // The scopes end in the opposite order.
        let errors = [internal, memory, invalid].map(|scope| pollster::block_on(scope.pop()));
        match errors.into_iter().flatten().next() {
            Some(error) => bail!("{} failed: {error}", self.name),
            None => Ok(done),
        }
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
        self.check()?;
        let poll = wgpu::PollType::Wait {
            submission_index: submission,
            timeout: Some(TIMEOUT),
        };
        // wgpu panics in the poll that finds the device lost, after it has told us so.
        let waited = catch_unwind(AssertUnwindSafe(|| self.wgpu.poll(poll)));
        self.check()?;
        match waited {
            Ok(waited) => waited.with_context(|| format!("waiting for {}", self.name))?,
            Err(_) => bail!("waiting for {} failed", self.name),
        };
        Ok(())
    }

    pub fn buffer(&self, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: padded(bytes),
            usage,
            mapped_at_creation: false,
        })
    }

    /// Copies bytes of a buffer to the host, after everything queued.
    pub fn download(&self, buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> Result<Vec<u8>> {
        use wgpu::BufferUsages as Usage;
        let staging = self.buffer(bytes, Usage::MAP_READ | Usage::COPY_DST);
        let mut encoder = self.wgpu.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, offset as u64, &staging, 0, padded(bytes));
        self.queue.submit([encoder.finish()]);
        let (send, receive) = std::sync::mpsc::channel();
        // A receiver that is gone means that this function already returned an error.
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            drop(send.send(result))
        });
        self.wait(None)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::adapters;

    fn device() -> Option<Device> {
        let best = adapters().into_iter().min_by_key(AdapterReport::rank);
        if best.is_none() {
            eprintln!("SKIPPED: no GPU adapter");
        }
        best.map(|adapter| Device::open(&adapter, Options::default()).unwrap())
    }

    #[test]
    fn a_lost_device_is_an_error() {
        let Some(device) = device() else { return };
        device.wait(None).unwrap();
        device.wgpu.destroy();
        device.queue.submit([]);
        let lost = device.wait(None).and_then(|()| device.wait(None));
        let error = lost.unwrap_err().to_string();
        assert!(error.contains("the device was lost"), "{error}");
    }

    #[test]
    fn a_refused_buffer_is_an_error_of_its_own() {
        let Some(device) = device() else { return };
        let most = device.wgpu.limits().max_buffer_size as usize;
        let too_large = device.scoped(|| device.buffer(most + 4, wgpu::BufferUsages::STORAGE));
        assert!(too_large.is_err());
        device.check().unwrap();
        device
            .scoped(|| device.buffer(4, wgpu::BufferUsages::STORAGE))
            .unwrap();
    }
}
