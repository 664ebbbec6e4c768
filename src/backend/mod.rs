//! Executes plans: natively on the CPU, or through wgpu on a GPU. Callers hold a `dyn Backend`.
mod api;
pub mod cpu;
mod error;
pub mod gpu;
mod pool;
mod select;

pub use api::{Backend, PlanId, Tuned};
pub use error::{DeviceError, Failure};
pub use pool::memory_needed;
pub use select::{Choice, open};
