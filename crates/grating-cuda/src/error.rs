//! What can go wrong between the backend and its device.

use grating_backend::BackendError;

/// Alias with this crate's error.
pub type Result<T, E = DriverError> = std::result::Result<T, E>;

/// A driver that could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No library of NVIDIA's driver is on this machine.
    #[error(
        "no CUDA driver found (libcuda.so.1 or nvcuda.dll): install NVIDIA's driver, or compute on the CPU"
    )]
    NoDriver,
    /// There is a driver, and no such device.
    #[error("there is no CUDA device {device}: this machine has {count}")]
    NoDevice {
        /// The one that was asked for, from 0.
        device: usize,
        /// How many there are.
        count: usize,
    },
    /// The device is older than the kernels.
    #[error(
        "{name} has compute capability {major}.{minor}: the kernels need 8.0 (Ampere) or later"
    )]
    TooOld {
        /// Its name.
        name: String,
        /// Of its compute capability.
        major: i32,
        /// Of its compute capability.
        minor: i32,
    },
    /// The device, or the host for page-locked memory, has no memory for it.
    #[error("{memory} has no room for {bytes} bytes more")]
    OutOfMemory {
        /// Which memory.
        memory: &'static str,
        /// What was asked for.
        bytes: u64,
    },
    /// Anything else.
    #[error("CUDA: {action} failed: {reason}")]
    Failed {
        /// What the driver was to do.
        action: &'static str,
        /// In the driver's own words.
        reason: String,
    },
}

impl DriverError {
    /// [`DriverError::Failed`] with the driver's own words.
    pub fn failed(action: &'static str, reason: impl Into<String>) -> Self {
        DriverError::Failed { action, reason: reason.into() }
    }
}

impl From<DriverError> for BackendError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::OutOfMemory { bytes, .. } => BackendError::OutOfMemory { bytes },
            other => BackendError::failed(other),
        }
    }
}
