"""The command line that comes with the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grating
from conftest import QUERY, TEXTS


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grating", *arguments], capture_output=True, text=True, timeout=120
    )


def test_the_command_answers_as_the_package_does(tmp_path: Path, reranker: grating.Reranker) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    done = command("rerank", "-q", QUERY, "-k", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    selection = reranker.rerank(QUERY, TEXTS, k=2)
    assert [result["index"] for result in results] == [ranked.index for ranked in selection]
    for result, ranked in zip(results, selection):
        assert abs(result["raw_score"] - ranked.raw_score) < 1e-5


def test_exit_codes_and_the_version() -> None:
    assert command("--version").stdout == f"grating {grating.__version__}\n"
    assert command("rerank", "--no-such-option").returncode == 2
    failed = command("rerank", "-q", "a", "/no/such/file")
    assert failed.returncode == 1 and failed.stderr.startswith("grating: ")


def test_it_is_on_the_path() -> None:
    script = Path(sys.executable).with_name("grating")
    if script.exists():
        done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
        assert done.stdout == f"grating {grating.__version__}\n"
