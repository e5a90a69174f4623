//! Apple's GPUs, where there is one and this crate is built for it.

use candle_core::Device;

use crate::CandleOps;

/// Why there is no GPU of Apple's to compute on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetalError {
    /// Only macOS has Metal.
    #[error("Metal is of macOS alone: compute on the CPU, or on a CUDA device")]
    NotMacOs,
    /// The feature `metal` is off.
    #[error(
        "this build leaves Metal out: build it with the feature `metal`, or compute on the CPU"
    )]
    NotBuilt,
    /// Metal knows no device.
    #[error("Metal knows no GPU on this machine: compute on the CPU")]
    NoDevice,
    /// Candle could not use it.
    #[error("Metal: {reason}")]
    Failed {
        /// In candle's words.
        reason: String,
    },
}

impl CandleOps {
    /// On the GPU of a Mac, with the feature `metal`. Nobody of this project has run it.
    ///
    /// # Errors
    /// [`MetalError`]; on other systems always.
    pub fn metal() -> Result<Self, MetalError> {
        open().map(CandleOps::on)
    }
}

#[cfg(all(feature = "metal", target_os = "macos"))]
fn open() -> Result<Device, MetalError> {
    // Candle takes the first of a list without asking whether there is one.
    let opened = std::panic::catch_unwind(|| Device::new_metal(0));
    let opened = opened.map_err(|_| MetalError::NoDevice)?;
    opened.map_err(|error| MetalError::Failed { reason: error.to_string() })
}

#[cfg(not(all(feature = "metal", target_os = "macos")))]
fn open() -> Result<Device, MetalError> {
    Err(if cfg!(target_os = "macos") { MetalError::NotBuilt } else { MetalError::NotMacOs })
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests {
    use super::*;

    #[test]
    fn other_systems_have_no_metal_whatever_the_features() {
        let error = CandleOps::metal().map(drop).unwrap_err();
        assert_eq!(error, MetalError::NotMacOs);
        assert!(error.to_string().contains("compute on the CPU"), "{error}");
    }
}
