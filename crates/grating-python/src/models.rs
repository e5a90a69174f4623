//! What can be done with a model's files, and the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use grating::{CancelToken, WeightFormat};
use pyo3::prelude::*;

use crate::errors::{exception, raised};
use crate::selection::json;
use crate::settings::{Location, source};
use crate::waiting::interruptible;

/// A model's family, shapes and tensors, as JSON.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, place: Location) -> PyResult<String> {
    let source = source(py, &place)?;
    let report = py.detach(|| grating::inspect(&source)).map_err(|error| raised(py, &error))?;
    json(&report)
}

/// What is wrong with a model, as JSON.
#[pyfunction]
pub(crate) fn doctor(py: Python<'_>, place: Location) -> PyResult<String> {
    let source = source(py, &place)?;
    json(&interruptible(py, &CancelToken::new(), || grating::doctor(&source))?)
}

/// Writes a model in fewer bits; what was written, as JSON.
#[pyfunction]
pub(crate) fn quantize(
    py: Python<'_>,
    place: Location,
    format: &str,
    out: PathBuf,
) -> PyResult<String> {
    let format: WeightFormat =
        format.parse().map_err(|e| exception(py, "InputError", &format!("format: {e}")))?;
    let source = source(py, &place)?;
    let cancel = CancelToken::new();
    let written = interruptible(py, &cancel, || {
        grating::quantize_cancellable(&source, format, &out, &cancel)
    })?;
    json(&written.map_err(|error| raised(py, &error))?)
}

/// The command line; its exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| grating_cli::run(arguments))
}
