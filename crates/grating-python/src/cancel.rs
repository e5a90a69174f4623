//! Cancelling from another thread or task.

use pyo3::prelude::*;

/// Ends the requests that carry it.
#[pyclass(frozen, module = "grating", from_py_object)]
#[derive(Clone)]
pub(crate) struct CancelToken(pub(crate) grating::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        CancelToken(grating::CancelToken::new())
    }

    /// Ends them: those that wait at once, those that are computed at the next chunk of a layer.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was cancelled.
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
