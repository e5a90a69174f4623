//! The native half of the Python package `grating`: the facade's types as the Python half needs them.
//!
//! What users see is Python (`python/grating`): names, defaults, documentation and shapes live there. What passes between
//! the halves are numbers, texts and, where a structure is deep and rarely looked at, JSON. No call holds the interpreter
//! while it computes, and all that compute can be interrupted from the keyboard.
#![deny(unsafe_code)]

mod calibrate;
mod cancel;
mod errors;
mod models;
mod request;
mod reranker;
mod selection;
mod settings;
mod waiting;

use pyo3::prelude::*;

/// What `python/grating` imports.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::calibrate::{calibrate, paper_policy, read_profile, write_profile};
    #[pymodule_export]
    use super::cancel::CancelToken;
    #[pymodule_export]
    use super::models::{doctor, inspect, main, quantize};
    #[pymodule_export]
    use super::reranker::Reranker;
    #[pymodule_export]
    use super::selection::Selection;
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
