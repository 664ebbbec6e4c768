//! What stopped a device, for callers that advise on it.
use std::fmt;

/// The error of a device that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceError {
    /// The device's name.
    pub device: String,
    /// What happened.
    pub failure: Failure,
    /// What the driver or wgpu said.
    pub cause: String,
}

/// What happened to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It is gone: reset by the system, unplugged, or its driver crashed. Its memory cannot be read.
    Lost,
    /// Its memory did not suffice.
    OutOfMemory,
    /// A rule of the driver was broken, or the driver broke.
    Other,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let DeviceError {
            device,
            failure,
            cause,
        } = self;
        match failure {
            Failure::Lost => write!(f, "{device} failed: the device was lost: {cause}"),
            Failure::OutOfMemory => write!(f, "{device} is out of memory: {cause}"),
            Failure::Other => write!(f, "{device} failed: {cause}"),
        }
    }
}

impl std::error::Error for DeviceError {}
