//! Writing a model with its matrices in blocks of fewer bits.

mod error;
mod plan;
mod write;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use grating_engine::CancelToken;
use grating_io::Dtype;
use grating_model::{LoadOptions, LoadedModel};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;
use crate::source::ModelSource;

pub use error::{QuantizeError, UnknownWeightFormat};

/// Blocks that the matrices of a quantized model are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// Blocks of 32: a scale, bytes. 8.5 bits a weight; scores hardly move.
    Q8_0,
    /// Blocks of 32: a scale, half-bytes. 4.5 bits a weight.
    Q4_0,
    /// Blocks of 256: scales and minima of eight groups, half-bytes. 4.5 bits a weight, nearer than `Q4_0`.
    Q4K,
}

impl WeightFormat {
    /// All of them.
    pub const ALL: [WeightFormat; 3] = [WeightFormat::Q8_0, WeightFormat::Q4_0, WeightFormat::Q4K];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            WeightFormat::Q8_0 => "q8_0",
            WeightFormat::Q4_0 => "q4_0",
            WeightFormat::Q4K => "q4_k",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            WeightFormat::Q8_0 => Dtype::Q8_0,
            WeightFormat::Q4_0 => Dtype::Q4_0,
            WeightFormat::Q4K => Dtype::Q4K,
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = UnknownWeightFormat;

    fn from_str(name: &str) -> Result<Self, UnknownWeightFormat> {
        let found = WeightFormat::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownWeightFormat(name.to_owned()))
    }
}

/// What [`quantize`] wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuantizeReport {
    /// Tensors by the type that they are stored as, e.g. `Q4_K`, and their bytes; the most bytes first.
    pub stored: Vec<StoredAs>,
    /// Tensors that are stored in the blocks that were asked for. None where no matrix has rows of whole blocks.
    pub in_format: usize,
    /// Bytes of the tensors that the model uses, before.
    pub bytes_before: u64,
    /// Bytes of the same tensors now.
    pub bytes_after: u64,
}

/// See [`QuantizeReport::stored`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredAs {
    /// The type's name.
    pub dtype: String,
    /// Tensors of it.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes the model to the new folder `out`: `model.gguf` with the layers' matrices in `format`, and the other files as
/// they are. The folder is a model like any other. Where only the model's name says which prompt it takes, a
/// `grating.json` says it in the new folder.
///
/// Matrices whose rows are no whole number of blocks become `Q8_0`, or stay as they are where they do not fit that
/// either. The table of token embeddings becomes `Q8_0` unless it is the scoring head as well; norms, biases, position
/// embeddings and the head stay as they are. A pruning profile is left out: it was measured on other scores.
///
/// Memory is that of a few rows. `out` appears when it is complete; nothing is left behind otherwise. (A process that is
/// killed leaves a hidden folder beside `out`, which the next call with the same parent removes.)
///
/// # Errors
/// [`QuantizeError`] where `out` exists, the disk is full, or the weights are quantized already or not finite; what
/// loading the model fails with.
pub fn quantize(source: &ModelSource, format: WeightFormat, out: &Path) -> Result<QuantizeReport> {
    quantize_cancellable(source, format, out, &CancelToken::new())
}

/// [`quantize`], until `cancel` ends it; nothing is left behind then either.
///
/// # Errors
/// As [`quantize`], and [`Error::Cancelled`].
pub fn quantize_cancellable(
    source: &ModelSource,
    format: WeightFormat,
    out: &Path,
    cancel: &CancelToken,
) -> Result<QuantizeReport> {
    write::refuse_existing(out)?;
    let files = files::open(source, crate::builder::fetch_quietly)?;
    let LoadedModel { model, identity, .. } = files
        .load(LoadOptions::default())
        .map_err(|source| Error::of_model(&files.name, source))?;
    let tensors = plan::plan(&model, format)?;
    write::write(&files, &tensors, &identity, format, out, cancel)?;
    Ok(plan::report(&tensors, format))
}
