"""What the tests share: the built-in model, and the small checkpoints that the reference implementation made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grating
import pytest

GOLDENS = Path(__file__).parents[2] / "grating-model" / "tests" / "goldens"

QUERY = "What is the capital of France?"
TEXTS = [
    "The cat sat on the mat.",
    "Paris is the capital of France.",
    "France borders Spain.",
    "Berlin is the capital of Germany.",
]


@pytest.fixture(scope="session")
def reranker() -> grating.Reranker:
    return grating.Reranker()


@pytest.fixture(scope="session")
def encoder() -> grating.CrossEncoder:
    return grating.CrossEncoder()


def cases() -> list[Path]:
    """Folders of checkpoints with the reference's scores."""
    return sorted(path.parent for path in GOLDENS.glob("*/golden.json"))


def pairs(case: Path) -> list[dict[str, Any]]:
    """What goes into a checkpoint and what the reference makes of it."""
    golden: dict[str, Any] = json.loads((case / "golden.json").read_text())
    found: list[dict[str, Any]] = golden["pairs"]
    return found


def run(code: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=timeout
    )
