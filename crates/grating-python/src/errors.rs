//! From the facade's errors to the exceptions of `grating.errors`.

use grating::{Error, PlanError, ProfileError, TrySubmitError};
use pyo3::prelude::*;

/// The exception for what went wrong, by its name in `grating.errors`.
fn class(error: &Error) -> &'static str {
    if error.setting().is_some() {
        return "InputError";
    }
    match error {
        Error::ZeroK
        | Error::NoTexts
        | Error::Setting { .. }
        | Error::Input(_)
        | Error::Tokenize(_)
        | Error::Isa(_)
        | Error::Prune(_) => "InputError",
        Error::TextOverBudget { .. } | Error::TextsOverBudget { .. } => "BudgetError",
        Error::Plan(PlanError::BudgetTooSmall { .. }) => "BudgetError",
        Error::Plan(_) => "InputError",
        Error::NoSuchModel { .. } => "ModelNotFoundError",
        Error::Profile(_) | Error::Learning(_) => "ProfileError",
        Error::Calibrate(_) => "CalibrationError",
        Error::Cancelled => "Cancelled",
        Error::DeadlineExceeded { .. } => "DeadlineExceeded",
        Error::Spill(_) | Error::Resources(_) | Error::Threads { .. } => "ResourceError",
        Error::WorkerPanicked { .. } | Error::WorkerGone => "InternalError",
        _ => "ModelError",
    }
}

/// An exception of `grating.errors`; whatever hinders it from being made instead.
pub(crate) fn exception(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let class = py.import("grating.errors")?.getattr(class)?;
        Ok(PyErr::from_value(class.call1((message,))?))
    };
    made().unwrap_or_else(|error| error)
}

/// The exception of an error.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, class(error), &error.to_string())
}

/// The exception of a request that was not taken into the queue.
pub(crate) fn refused(py: Python<'_>, error: TrySubmitError) -> PyErr {
    match error {
        TrySubmitError::Refused(error) => raised(py, &error),
        full => exception(py, "QueueFull", &full.to_string()),
    }
}

/// The exception of a profile that cannot be read or written.
pub(crate) fn of_profile(py: Python<'_>, error: ProfileError) -> PyErr {
    raised(py, &Error::Profile(error))
}
