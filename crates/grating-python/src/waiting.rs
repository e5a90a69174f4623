//! Work beside the interpreter, which may go on meanwhile and may want to stop it.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use grating::CancelToken;
use pyo3::prelude::*;

/// How long a key that is pressed may wait.
const PATIENCE: Duration = Duration::from_millis(20);

/// Does `work` on a thread of its own without holding the interpreter. A signal whose Python handler raises (ctrl-c does)
/// cancels `cancel` and is raised when the work has ended.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    py.detach(|| {
        std::thread::scope(|scope| {
            let (done, result) = sync_channel(1);
            scope.spawn(move || _ = done.send(work()));
            let mut raised = None;
            loop {
                match result.recv_timeout(PATIENCE) {
                    Ok(value) => return raised.map_or(Ok(value), Err),
                    // The work panicked; joining the scope raises it anew.
                    Err(RecvTimeoutError::Disconnected) => {
                        let panicked = pyo3::exceptions::PyRuntimeError::new_err;
                        return Err(raised.unwrap_or_else(|| panicked("the call panicked")));
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(error) = Python::attach(|py| py.check_signals()) {
                            cancel.cancel();
                            raised.get_or_insert(error);
                        }
                    }
                }
            }
        })
    })
}
