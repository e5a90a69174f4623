"""Budgets and leaks, each in a process of its own."""

from __future__ import annotations

import sys

import pytest
from conftest import run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

PEAK = """
import grating, sys
def held(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))
"""


def test_a_hundred_requests_stay_within_the_budget() -> None:
    code = PEAK + """
budget = held("VmRSS:") + 140
reranker = grating.Reranker(memory_budget=f"{budget:.0f}MiB")
for i in range(100):
    texts = [f"{'a river in the valley ' * (1 + (i * 7 + j) % 20)}{j}" for j in range(5 + i % 20)]
    reranker.rerank(f"rivers {i}", texts, k=5)
print(budget, held("VmHWM:"))
"""
    done = run(code, timeout=300)
    budget, peak = map(float, done.stdout.split())
    assert peak <= budget + 8, done.stdout


def test_nothing_is_kept_of_requests_and_rerankers() -> None:
    code = PEAK + """
import os, threading, time
def counted():
    # Threads of a pool end a moment after it has been closed.
    for _ in range(100):
        if len(os.listdir("/proc/self/task")) == 1:
            break
        time.sleep(0.05)
    return held("VmRSS:"), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
texts = [f"a river {j}" for j in range(30)]
def work():
    with grating.Reranker() as reranker:
        for _ in range(30):
            selection = reranker.rerank("a river", texts, on_progress=lambda *_: None)
            selection.ranking(), selection.stats
        try:
            reranker.rerank("a river", [1])
        except TypeError:
            pass
for _ in range(3):
    work()
before = counted()
for _ in range(12):
    work()
after = counted()
print(after[0] - before[0], after[1] - before[1], after[2] - before[2])
"""
    done = run(code, timeout=300)
    grown, files, threads = map(float, done.stdout.split())
    assert grown < 8 and files == 0 and threads <= 1, done.stdout
