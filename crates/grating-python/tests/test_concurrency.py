"""Threads, tasks, processes, signals."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grating
import pytest
from conftest import QUERY, TEXTS, run
from grating import errors

LONG = ["the river runs through the valley and the window is open " * 20 + str(i) for i in range(400)]


def test_threads_share_a_reranker(reranker: grating.Reranker) -> None:
    expected = reranker.rerank(QUERY, TEXTS)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: reranker.rerank(QUERY, TEXTS), range(40)))
    assert all(answer == expected for answer in answers)


def test_the_interpreter_is_free_while_a_request_computes(reranker: grating.Reranker) -> None:
    counted = 0
    done = threading.Event()

    def work() -> None:
        reranker.rerank(QUERY, LONG[:60])
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        counted += 1
        time.sleep(0.0005)
    thread.join()
    assert counted > 10


def test_a_token_ends_a_request_from_another_thread(reranker: grating.Reranker) -> None:
    token = grating.CancelToken()
    begun = threading.Event()
    timer = threading.Thread(target=lambda: (begun.wait(), token.cancel()))
    timer.start()
    with pytest.raises(errors.Cancelled):
        reranker.rerank(QUERY, LONG, cancel=token, on_progress=lambda *_: begun.set())
    timer.join()
    assert token.cancelled
    assert reranker.rerank(QUERY, TEXTS, k=1)[0].index == 1


def test_a_full_queue_says_so() -> None:
    reranker = grating.Reranker(queue_length=1)
    token, begun = grating.CancelToken(), threading.Event()

    def long() -> None:
        with pytest.raises(errors.Cancelled):
            reranker.rerank(QUERY, LONG, cancel=token, on_progress=lambda *_: begun.set())

    first = threading.Thread(target=long)
    first.start()
    begun.wait()
    second = threading.Thread(target=long)
    second.start()
    while reranker.waiting == 0:
        time.sleep(0.001)
    with pytest.raises(errors.QueueFull, match="1 requests may wait"):
        reranker.rerank(QUERY, TEXTS, wait_for_a_place=False)
    token.cancel()
    first.join()
    second.join()
    reranker.close()


def test_tasks_wait_without_blocking_the_loop(reranker: grating.Reranker) -> None:
    async def several() -> list[grating.Selection]:
        asked = [reranker.rerank_async(QUERY, TEXTS, k=1) for _ in range(12)]
        both = await reranker.rerank_many_async([QUERY, "Which animal?"], TEXTS, k=1)
        return [*await asyncio.gather(*asked), *both]

    answers = asyncio.run(several())
    assert [answer[0].index for answer in answers] == [1] * 13 + [0]


def test_a_cancelled_task_cancels_its_request(reranker: grating.Reranker) -> None:
    async def cancelled() -> float:
        task = asyncio.create_task(reranker.rerank_async(QUERY, LONG))
        while reranker.waiting == 0 and not task.done():
            await asyncio.sleep(0.01)
            break
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        begun = time.monotonic()
        await reranker.rerank_async(QUERY, TEXTS, k=1)
        return time.monotonic() - begun

    whole = time.monotonic()
    reranker.rerank(QUERY, LONG)
    whole = time.monotonic() - whole
    # The next one does not wait for what was cancelled.
    assert asyncio.run(cancelled()) < max(whole, 1.0)


def test_ctrl_c_ends_a_request_and_the_reranker_serves_on() -> None:
    code = """
import grating, signal
# Whoever runs the tests in the background may have ctrl-c ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
reranker = grating.Reranker()
texts = ["the river runs through the valley " * 60 + str(i) for i in range(1000)]
told = False
def tell(*_):
    global told
    if not told:
        told = True
        print("begun", flush=True)
try:
    reranker.rerank("a river", texts, on_progress=tell)
except KeyboardInterrupt:
    print("interrupted", reranker.rerank("a river", ["a river", "a cat"], 1)[0].index)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    assert out == "interrupted 0\n" and child.returncode == 0


def answer(reranker: grating.Reranker) -> int:
    return reranker.rerank(QUERY, TEXTS, k=1)[0].index


def test_spawned_processes_open_the_model_anew(reranker: grating.Reranker) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(answer, [reranker]) == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_opens_the_model_anew() -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
import grating
reranker = grating.Reranker()
reranker.rerank("a", ["b"])
child = os.fork()
if child == 0:
    os._exit(reranker.rerank("cat", ["dog", "a cat"], 1)[0].index)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), reranker.rerank("cat", ["dog", "a cat"], 1)[0].index)
"""
    done = run(code, timeout=60)
    assert done.stdout == "1 1\n", done.stderr


@pytest.mark.skipif(os.name != "posix", reason="no numbers of files, and no /dev/zero")
def test_a_process_that_closes_all_files_keeps_the_built_in_model() -> None:
    """As those do that go to the background; other files come to the numbers."""
    code = """
import os, warnings
warnings.simplefilter("ignore")
import grating
reranker = grating.Reranker(memory_budget="150MiB")
pairs = [("cat", "dog"), ("cat", "a cat")]
before = reranker.score(pairs)
os.closerange(3, 100)
others = [os.open("/dev/zero", os.O_RDONLY) for _ in range(40)]
print(reranker.score(pairs) == before, grating.Reranker().score(pairs) == before)
del reranker
[os.fstat(other) for other in others]
"""
    done = run(code, timeout=60)
    assert done.stdout == "True True\n", done.stderr
