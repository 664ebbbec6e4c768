//! What every device can do.
use crate::graph::TensorId;
use crate::ops::tuning::{Convolution, TuningTable};
use crate::plan::{Limits, Plan};
use anyhow::Result;

/// Names a plan that a backend holds ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanId(pub(super) usize);

/// What tuning came to.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The tilings of the convolutions; none where they could not be timed.
    pub tilings: TuningTable,
    /// What was done, for people.
    pub note: String,
}

/// A device that runs plans of one graph.
///
/// Inputs and states live as long as the backend and are shared by its plans; they start as
/// zeros. Pool buffers are shared between plans too: only one plan runs at a time, and the values
/// of a plan are gone once another one ran.
pub trait Backend {
    /// The device's name for people.
    fn device(&self) -> &str;

    /// What a plan for this device must respect.
    fn limits(&self) -> Limits;

    /// The relative error, as a root mean square, by which a factor of a product is rounded before it is multiplied; 0 in
    /// f32.
    fn factor_error(&self) -> f64 {
        0.0
    }

    /// Whether its kernels can read and write tensors of f16.
    fn stores_f16(&self) -> bool;

    /// Whether its kernels can read and write tensors of bfloat16, which WGSL does not know.
    fn stores_bf16(&self) -> bool {
        false
    }

    /// Bytes that a plan may take, where the device tells.
    ///
    /// # Errors
    /// When asking fails.
    fn memory(&self) -> Result<Option<u64>>;

    /// Bytes that running these plans takes beside those of their buffers: what it needs for a while and what it
    /// keeps.
    fn scratch(&self, _plans: &[&Plan]) -> u64 {
        0
    }

    /// The most bytes that one buffer may have.
    fn max_buffer(&self) -> u64;

    /// Bytes in use now: of the whole process on the CPU, of the device's buffers on a GPU.
    ///
    /// # Errors
    /// When asking the system fails.
    fn memory_used(&self) -> Result<u64>;

    /// Allocates what the plan needs and makes it ready to run. Compile the largest plan first:
    /// the smaller ones then need no pool buffers of their own.
    ///
    /// # Errors
    /// When memory or a kernel's compilation fails.
    fn compile(&mut self, plan: Plan) -> Result<PlanId>;

    /// Runs a plan, or queues it behind at most one other run.
    ///
    /// # Errors
    /// When the device is lost, which is a [`super::DeviceError`] as every failure of a device.
    fn run(&mut self, plan: PlanId) -> Result<()>;

    /// Runs a plan once and returns the seconds that each of its dispatches took, in their order.
    ///
    /// # Errors
    /// When the device has no clock or is lost.
    fn profile(&mut self, plan: PlanId) -> Result<Vec<f64>>;

    /// Finds the fastest tilings of these convolutions, those first that matter most: about a second of
    /// timing, in buffers of at most `room` bytes that are given back. Before any plan is compiled. `None` where
    /// there is nothing to find, as on the CPU.
    ///
    /// # Errors
    /// When the device is lost.
    fn tune(&mut self, _convolutions: &[Convolution], _room: u64) -> Result<Option<Tuned>> {
        Ok(None)
    }

    /// Overwrites an input or a state of a compiled plan; runs that were queued before see the old bytes.
    ///
    /// # Errors
    /// When no compiled plan has the tensor or its size differs.
    fn write(&mut self, tensor: TensorId, bytes: &[u8]) -> Result<()>;

    /// Overwrites the bytes of an input or a state from `offset` on, of which they are a multiple of 4 unless they reach its
    /// end; so is the offset. For what is too large to be held twice: nothing of it is kept when this returns.
    ///
    /// # Errors
    /// When no compiled plan has the tensor or it has no such bytes.
    fn write_part(&mut self, tensor: TensorId, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Waits for everything queued and returns the bytes of an input or a state.
    ///
    /// # Errors
    /// When no compiled plan has the tensor or the device is lost.
    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>>;

    /// Waits and returns the bytes of a value that the plan keeps, from that plan's latest run.
    ///
    /// # Errors
    /// When the plan does not have the tensor or the device is lost.
    fn read_value(&mut self, plan: PlanId, tensor: TensorId) -> Result<Vec<u8>>;

    /// Waits for everything queued.
    ///
    /// # Errors
    /// When the device is lost.
    fn wait(&mut self) -> Result<()>;
}
