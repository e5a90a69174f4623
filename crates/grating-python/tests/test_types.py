"""Stubs and annotations, by two checkers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import grating
import pytest

PACKAGE = Path(grating.__file__).parent
# Adapters are checked where their frameworks are; the rest must be clean anywhere.
OWN = ["__init__", "_cli", "_cross_encoder", "_models", "_profile", "_reranker", "_selection", "errors"]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker)
    use = tmp_path / "use.py"
    use.write_text(
        "import grating\n"
        "selection: grating.Selection = grating.Reranker().rerank('a', ['b'], k=1)\n"
        "best: grating.Ranked = selection[0]\n"
        "score: float = best.score\n"
        "milliseconds: float = selection.stats.total_ms\n"
    )
    files = [*(str(PACKAGE / f"{name}.py") for name in OWN), str(PACKAGE / "_native.pyi"), str(use)]
    modules = [word for name in OWN for word in ("-m", f"grating.{name}".removesuffix(".__init__"))]
    # mypy takes an installed package by its modules alone.
    runs = {
        "mypy": [["--strict", *modules], ["--strict", str(use)]],
        "pyright": [["--level", "error", "--pythonpath", sys.executable, *files]],
    }[checker]
    for arguments in runs:
        command = [sys.executable, "-m", checker, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_stub_names_what_the_native_half_has() -> None:
    stub = (PACKAGE / "_native.pyi").read_text()
    for name in dir(grating._native):
        if not name.startswith("__"):
            assert f"def {name}(" in stub or f"class {name}:" in stub, name
    for kind in (grating._native.Reranker, grating._native.Selection, grating.CancelToken):
        for name in vars(kind):
            if not name.startswith("__"):
                assert re.search(rf"def {name}\(\s*self", stub), f"{kind.__name__}.{name}"
