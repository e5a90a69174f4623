"""What can go wrong. Every error of the package is a :class:`GratingError`, and also the built-in error that it is like."""

__all__ = [
    "BudgetError",
    "CalibrationError",
    "Cancelled",
    "DeadlineExceeded",
    "GratingError",
    "InputError",
    "InternalError",
    "ModelError",
    "ModelNotFoundError",
    "ProfileError",
    "QueueFull",
    "ResourceError",
]


class GratingError(Exception):
    """Any error of the package; its message says what to do."""


class InputError(GratingError, ValueError):
    """A query, a text or a setting cannot be used."""


class BudgetError(GratingError, MemoryError):
    """The memory budget is too small; the message names the least that does, or about."""


class ModelError(GratingError, RuntimeError):
    """The model's files cannot be fetched, read or run."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """The model is neither a folder or file nor a hub id."""


class ProfileError(GratingError, ValueError):
    """A pruning profile cannot be read, or is for another model, K or setting."""


class CalibrationError(GratingError, ValueError):
    """The sample queries or their traces are not in order."""


class Cancelled(GratingError):
    """The request was cancelled."""


class DeadlineExceeded(GratingError, TimeoutError):
    """The request was not done within its deadline."""


class QueueFull(GratingError):
    """As many requests wait as may (``queue_length``); try again later."""


class ResourceError(GratingError, OSError):
    """The system gave no thread, memory or disk."""


class InternalError(GratingError, RuntimeError):
    """A defect of the library; please report it."""
