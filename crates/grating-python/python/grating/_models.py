"""What can be done with a model's files."""

from __future__ import annotations

import json
from os import PathLike, fspath
from typing import Any

from . import _native

__all__ = ["doctor", "inspect", "place", "quantize"]

Model = str | PathLike[str] | None
"""A folder or file of weights, a hub id (``owner/name``, ``owner/name:Q4_K_M``), or nothing for the built-in model."""


def place(
    model: Model,
    revision: str | None = None,
    cache_folder: str | PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> dict[str, Any]:
    """Where a model is, as the native half takes it."""
    return {
        "model": None if model is None else fspath(model),
        "revision": revision,
        "cache_folder": cache_folder,
        "local_files_only": local_files_only,
        "token": token,
    }


def inspect(model: Model = None, *, revision: str | None = None) -> dict[str, Any]:
    """A model's family, shapes, sizes and tensors, from its headers alone.

    Raises:
        ModelError: There are no weights to report on.
    """
    report: dict[str, Any] = json.loads(_native.inspect(place(model, revision)))
    return report


def doctor(model: Model = None, *, revision: str | None = None) -> dict[str, Any]:
    """What is wrong with a model, if anything: checks with a status, a detail and a remedy each."""
    report: dict[str, Any] = json.loads(_native.doctor(place(model, revision)))
    return report


def quantize(
    model: Model, format: str, out: str | PathLike[str], *, revision: str | None = None
) -> dict[str, Any]:
    """Writes a model with its matrices in blocks of fewer bits, as a folder that runs like any other.

    Args:
        format: ``q8_0``, ``q4_0`` or ``q4_k``, as ``grating quantize --format`` has them.
        out: A folder that does not exist yet.

    Raises:
        ModelError: The model cannot be read, or the folder not be written.
    """
    report: dict[str, Any] = json.loads(_native.quantize(place(model, revision), format, fspath(out)))
    return report
