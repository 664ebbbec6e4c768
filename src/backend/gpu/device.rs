//! A device opened on an adapter. Its errors are kept and returned instead of panicking.
use super::adapter::AdapterReport;
use crate::backend::{DeviceError, Failure};
use crate::ops::Cooperative;
use anyhow::{Context, Result, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longer than any run of a plan on the slowest software adapter.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// How long a failed device may take to end what is queued, before its error is told as it is.
const SETTLE: Duration = Duration::from_secs(10);

/// What kernels that multiply by cooperative matrices need of a device beside f16.
pub const COOPERATIVE_FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SUBGROUP);

/// How a device is opened. The default is what training uses; tests take the other paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Keeps wgpu's run-time checks in the kernels: bounds, loops, zeroed workgroup memory. OpenGL has none.
    pub checked: bool,
    /// Pretends that no more bytes may be bound at once.
    pub max_binding: Option<usize>,
    /// Asks for WebGPU's default limits and no feature, as if the adapter had no more.
    pub portable: bool,
    /// What kernels may multiply images of f16 with.
    pub cooperative: Option<Cooperative>,
    /// Lets the device fail, to see what becomes of it.
    pub fault: Option<Fault>,
    /// Where convolutions are tuned.
    pub tune: Tune,
}

/// Where convolutions are timed to find their fastest tilings, if a command asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tune {
    /// On real GPUs. What was found is kept in a file.
    #[default]
    Auto,
    /// On software adapters too. Nothing is kept, and no file read.
    Always,
}

/// A failure after a number of runs of plans, those that are profiled among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Runs that still succeed.
    pub after: usize,
    /// What happens then. [`Failure::Lost`] destroys the device, the others are only reported.
    pub failure: Failure,
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
    error: Arc<Mutex<Option<(Failure, String)>>>,
}

impl Device {
    pub fn open(report: &AdapterReport, options: Options) -> Result<Device> {
        let adapter = &report.adapter;
        use wgpu::Features;
        let wanted = Features::TIMESTAMP_QUERY | Features::PIPELINE_CACHE | Features::SHADER_F16;
        let (needed, experimental_features) = match options.cooperative {
            Some(unit) if !unit.emulated => {
                // SAFETY: wgpu may let mistakes of such kernels through. They are used only where the user
                // asked for them, and after they computed what the CPU does.
                let enabled = unsafe { wgpu::ExperimentalFeatures::enabled() };
                (COOPERATIVE_FEATURES, enabled)
            }
            _ => (Features::empty(), wgpu::ExperimentalFeatures::disabled()),
        };
        let descriptor = match options.portable {
            true => wgpu::DeviceDescriptor::default(),
            false => wgpu::DeviceDescriptor {
                required_limits: adapter.limits(),
                required_features: adapter.features() & wanted | needed,
                experimental_features,
                ..Default::default()
            },
        };
        let (wgpu, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .with_context(|| format!("opening {}", report.name))?;
        let error = Arc::new(Mutex::new(None));
        let (on_error, on_lost) = (Arc::clone(&error), Arc::clone(&error));
        wgpu.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            keep(&on_error, failure(&e), e.to_string());
        }));
        wgpu.set_device_lost_callback(move |_, message| keep(&on_lost, Failure::Lost, message));
        let multiplies = options.cooperative.map(|unit| unit.to_string());
        let words: Vec<&str> = [report.backend.as_str()]
            .into_iter()
            .chain(multiplies.as_deref())
            .collect();
        Ok(Device {
            name: format!("{} ({})", report.name, words.join(", ")),
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
            Some(error) => Err(self.failed(failure(&error), error.to_string())),
            None => Ok(done),
        }
    }

    /// The first error reported so far, unless the device was lost since.
    pub fn check(&self) -> Result<()> {
        let kept = || -> Option<(Failure, String)> {
            let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            error.clone()
        };
        let mut error = kept();
        if let Some((Failure::Other, _)) = error {
            // wgpu may tell of a loss only once nothing is queued, and shows it in other errors first.
            drop(self.poll(wgpu::PollType::Wait {
                submission_index: None,
                timeout: Some(SETTLE),
            }));
            error = kept();
        }
        match error {
            Some((failure, cause)) => Err(self.failed(failure, cause)),
            None => Ok(()),
        }
    }

    /// wgpu panics in the poll that finds the device lost, after it has told us so.
    fn poll(&self, poll: wgpu::PollType) -> Result<()> {
        match catch_unwind(AssertUnwindSafe(|| self.wgpu.poll(poll))) {
            Ok(polled) => {
                polled.with_context(|| format!("waiting for {}", self.name))?;
                Ok(())
            }
            Err(_) => bail!("waiting for {} failed", self.name),
        }
    }

    fn failed(&self, failure: Failure, cause: String) -> anyhow::Error {
        let device = self.name.clone();
        let error = DeviceError {
            device,
            failure,
            cause,
        };
        error.into()
    }

    /// Fails as if the driver had.
    pub fn fail(&self, failure: Failure) {
        match failure {
            Failure::Lost => self.wgpu.destroy(),
            failure => keep(&self.error, failure, "a fault was asked for".to_string()),
        }
    }

    /// Waits for a submission, or for all.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.check()?;
        let poll = wgpu::PollType::Wait {
            submission_index: submission,
            timeout: Some(TIMEOUT),
        };
        let waited = self.poll(poll);
        self.check()?;
        waited
    }

    pub fn buffer(&self, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: padded(bytes),
            usage,
            mapped_at_creation: false,
        })
    }

    /// Copies bytes to a buffer before the next submit.
    pub fn upload(&self, buffer: &wgpu::Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        let (whole, offset) = (bytes.len() / 4 * 4, offset as u64);
        self.queue.write_buffer(buffer, offset, &bytes[..whole]);
        if whole < bytes.len() {
            // Copies go by words: the rest of the last one is padding.
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue
                .write_buffer(buffer, offset + whole as u64, &word);
        }
        self.check()
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

/// Keeps the first error, unless the device was lost since, which often shows in other errors first.
fn keep(error: &Mutex<Option<(Failure, String)>>, failure: Failure, cause: String) {
    let mut kept = error.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *kept {
        Some((kept @ Failure::Other, was)) if failure == Failure::Lost => {
            (*kept, *was) = (failure, cause);
        }
        Some(_) => {}
        none => *none = Some((failure, cause)),
    }
}

fn failure(error: &wgpu::Error) -> Failure {
    match error {
        wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
        _ => Failure::Other,
    }
}

/// Sizes of buffers, bindings and copies are whole words; an empty tensor still has one.
pub fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(4).max(4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::adapters;

    fn device() -> Option<Device> {
        let best = adapters().into_iter().min_by_key(AdapterReport::rank);
        if best.is_none() {
            crate::process::say("SKIPPED: no GPU adapter");
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
