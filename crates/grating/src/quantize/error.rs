//! Why a model cannot be quantized.

use std::path::PathBuf;
use std::sync::Arc;

use grating_io::Dtype;

/// A name that is no format of weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}: use q8_0, q4_0 or q4_k")]
pub struct UnknownWeightFormat(pub(super) String);

/// Why a model cannot be quantized.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The folder to write is there.
    #[error("{} exists already; name a new folder, or remove it", .path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The disk has too little room.
    #[error(
        "{} has {free} bytes free, the quantized model takes {needed}; free some, or name a folder on another disk",
        .folder.display()
    )]
    DiskSpace {
        /// The folder that would hold the model's.
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Weights that have lost bits once would lose more.
    #[error("tensor `{tensor}` is stored as {dtype} already; quantize the original model instead")]
    Already {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
    },
    /// A block has no scale for NaN or an infinity.
    #[error(
        "tensor `{tensor}` holds NaN or an infinity at element {element}; the file is damaged, fetch it again"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Counted from its first.
        element: u64,
    },
    /// The system does not let a file or folder be written.
    #[error("cannot write {}: {reason}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: Arc<std::io::Error>,
    },
}
