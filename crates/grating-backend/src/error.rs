//! What can go wrong on a device.

use std::fmt;

/// Alias with this crate's error.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// A backend that could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendError {
    /// The device, its driver or the tensor library failed.
    Failed {
        /// In their own words.
        reason: String,
    },
    /// The device has no memory for it.
    OutOfMemory {
        /// What was asked for, bytes.
        bytes: u64,
    },
    /// The backend does not tell how attention is distributed.
    NoAttentionMass,
    /// Weights that are stored in a way that the backend cannot compute on.
    Unsupported {
        /// The format.
        format: crate::Format,
    },
}

impl BackendError {
    /// [`BackendError::Failed`] with another library's error.
    pub fn failed(reason: impl fmt::Display) -> Self {
        BackendError::Failed { reason: reason.to_string() }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendError::Failed { reason } => f.write_str(reason),
            BackendError::OutOfMemory { bytes } => {
                write!(f, "the device has no memory for {bytes} bytes more; give a smaller budget")
            }
            BackendError::NoAttentionMass => f.write_str(
                "this backend does not tell which tokens are paid attention, so none can leave; cut long texts instead",
            ),
            BackendError::Unsupported { format } => {
                write!(f, "weights stored as {format:?} cannot be computed on by this backend")
            }
        }
    }
}

impl std::error::Error for BackendError {}
