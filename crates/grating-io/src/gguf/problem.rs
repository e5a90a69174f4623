//! What can be wrong with a GGUF file and not with others.

use super::types;
use crate::dtype::Dtype;
use crate::error::quote;

/// Why a GGUF file cannot be opened, or a checkpoint not be written as one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufProblem {
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file, whatever its name says: it does not begin with GGUF; fetch it again")]
    Magic,
    /// A version that this crate does not know.
    #[error("GGUF version {found}, expected 2 or 3; convert the model with a current llama.cpp")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// Numbers are stored for another kind of machine.
    #[error("a big-endian GGUF file; fetch the little-endian one")]
    BigEndian,
    /// One of several files, by itself.
    #[error(
        "one of {count} parts under another name; give the parts their own names back, \
         as in model-00001-of-{count:05}.gguf, or join them: llama-gguf-split --merge FIRST-PART model.gguf"
    )]
    Split {
        /// Files that the model is split into.
        count: u64,
    },
    /// A metadata entry is malformed.
    #[error("metadata {}: {reason}; the file is damaged, fetch it again", quote(.key))]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More dimensions than GGML has.
    #[error(
        "tensor {} has {found} dimensions, at most 4 are possible; the file is damaged, \
         fetch it again", quote(.tensor)
    )]
    Rank {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        found: u32,
    },
    /// A type that cannot be computed on, or that GGUF does not have.
    #[error(
        "tensor {} is stored as {found}, expected one of {}; fetch the Q8_0, Q4_K_M, F16 or BF16 \
         file of the model, or quantize the original with `grating quantize`",
        quote(.tensor), types::names()
    )]
    Type {
        /// The tensor.
        tensor: String,
        /// GGML's name for the type.
        found: String,
    },
    /// Rows that end within a block.
    #[error(
        "tensor {} of {dtype} with shape {shape:?}: rows are no whole number of blocks; \
         the file is damaged, fetch it again", quote(.tensor)
    )]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape, outermost first.
        shape: Vec<usize>,
    },
    /// A tensor that does not begin where the one before it ends, or where padding demands.
    #[error(
        "tensor {} begins at data byte {found}, expected {expected}, where those before it end, \
         padded to {alignment}; the file is damaged, fetch it again", quote(.tensor)
    )]
    Offset {
        /// The tensor.
        tensor: String,
        /// Where it had to begin, counted from the first byte of data.
        expected: u64,
        /// Where it begins.
        found: u64,
        /// Multiples to which data is padded.
        alignment: u64,
    },
}
