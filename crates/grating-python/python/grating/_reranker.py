"""A model, and requests to it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TypeVar

from . import _native
from ._long import Attention, Long, TokenOutcome, long_texts, token_policy
from ._models import place
from ._native import CancelToken
from ._profile import Profile
from ._selection import AuditTotals, Selection
from .errors import InputError

__all__ = ["Reranker"]

T = TypeVar("T")

Pruning = bool | float | Mapping[str, Any] | None
"""``None``: as the model's own profile says. ``False``: off. A number: the paper's policy with that threshold of the
coefficient of variation. A mapping: a policy, with the fields of a profile's ``policy``."""

Mode = Literal["select", "rank"]
"""``select`` promises membership in the top K; ``rank`` also exact scores and order, and saves less."""

Progress = Callable[[int, int, int, int], object]
"""Is told candidate-layers done, of how many, the layer at work and the layers of the model."""


def _count(name: str, value: int | None, least: int = 1) -> int | None:
    """A number that the native half takes."""
    if value is None:
        return None
    number = int(value)
    if number != value or number < least:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least {least}")
    return number


def _layers(value: Sequence[int]) -> list[int]:
    """Numbers of layers, which count from 0."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise InputError(f"compress_layers is {value!r}, expected a list of layers")
    return [number for number in (_count("compress_layers", layer, 0) for layer in value) if number is not None]


def _size(value: int | str | None) -> str | None:
    """Bytes as a number or as people write them."""
    return None if value is None else str(value)


def _pruning(value: Pruning) -> str | None:
    """As the native half takes it."""
    if value is None:
        return None
    if value is False:
        return "off"
    if value is True:
        raise InputError("pruning: True says nothing; leave it out for the model's own profile, or give a policy")
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    paper: dict[str, Any] = json.loads(_native.paper_policy(float(value)))
    return json.dumps(paper)


def _texts(texts: Iterable[str]) -> list[str]:
    """A list of what was given; one string is a mistake and not a list of its letters."""
    if isinstance(texts, (str, bytes)):
        raise InputError("texts is one string: give a list of strings")
    return texts if isinstance(texts, list) else list(texts)


def _is_blank(text: object) -> bool:
    return isinstance(text, str) and not text.strip()


def _refuse_blanks(query: str, texts: list[str]) -> None:
    """An order that means nothing is no answer. What is no string is told by the native half."""
    if _is_blank(query):
        raise InputError("the query is blank: say what the texts are to be ranked by")
    if texts and all(map(_is_blank, texts)):
        raise InputError(f"there are no texts to rank: all {len(texts)} are blank")


class Reranker:
    """A cross-encoder reranker. Share it between threads and tasks; requests queue.

    Weights are streamed while computing, so that memory holds a layer or two and not the model.

    Args:
        model: Folder or file of weights, or a hub id (``owner/name``, ``owner/name:Q4_K_M``); the built-in model
            where it is left out.
        revision: Branch, tag or commit of a hub id.
        memory_budget: Most memory that the process may use, the interpreter included: bytes, or ``"400MiB"``.
        threads: Threads that compute; as many as the machine has cores by default.
        max_length: Most tokens of a text with its query and template; longer texts are cut. The model's own limit by
            default.
        cutoff_layers: End after so many layers, one that has a head of its own (layerwise and lightweight rerankers of BGE); the
            last by default.
        compress_ratio: Compress passages on their way: so many neighbouring tokens become one, 2, 4 or 8. For models that
            were trained to read them so (bge-reranker-v2.5-gemma2-lightweight); others are refused.
        compress_layers: Layers, counted from 0, before which that happens; ``[8]`` by default.
        long: What becomes of longer texts: ``truncate``, which is the default, ``passages``, ``prune``, or
            :class:`~grating.Passages` or :class:`~grating.Prune` with its settings.
        instruction: What queries are for, where the model's template has a place for it.
        precision: ``full`` f32, ``exact`` the weights' own type, ``fast`` 8-bit integers, with AMX
            bfloat16.
        isa: Instructions to compute with, ``avx2`` for instance; the best that the processor has by default.
        window: Layers in memory at one time: a number, ``all``, or ``auto``.
        chunk_tokens: Most tokens that go through a layer together; bounds memory.
        spill: Whether hidden states go to disk between layers: ``auto``, ``always``, ``never``.
        spill_folder: Folder of their nameless temporary file.
        row_cache: Embedding rows to keep: a number, a share such as ``10%``, ``all``, or ``auto``.
        io: Whether weights are read through or past the page cache: ``auto``, ``direct``, ``cached``.
        shared_prefix: Compute tokens that all texts begin with once.
        scored_rows: Compute only the scored tokens in the last layer.
        equal_texts: Compute equal texts once.
        pruning: How requests prune that do not say it: nothing for the model's own profile, ``False`` for not at all,
            a number for the paper's policy with that threshold, or a policy.
        profile: A calibrated profile, or its file.
        target_agreement: Learn pruning from the requests: everything is computed until a policy is proved to keep this
            mean agreement with the full model's top K, between 0 and 1; ``learned`` says where it is.
        confidence: Probability that this promise is kept, between 0 and 1.
        learning_file: Where what is learned is kept for the next process.
        audit: Share of the pruned requests, 0 to 1, that are run in full to see how far pruning would have agreed; by default
            0.02 where a profile prunes, else none.
        queue_length: Most requests that wait, 8 by default; callers past that wait for a place.
        joint_passes: Whether waiting requests may share a pass where that is sooner.
        special_tokens_in_text: Let strings such as ``[SEP]`` in texts become control tokens, as other tools do.
        refuse_long_query: Refuse a query that does not fit beside a text instead of cutting it.
        cache_folder: Where hub models are kept; as ``huggingface_hub`` has it by default.
        local_files_only: Never ask the hub.
        token: For private models on the hub.

    Raises:
        ModelNotFoundError: There is no such folder, and it is no hub id.
        ModelError: The model cannot be fetched, read or run.
        BudgetError: The budget is too small.
        InputError: A setting cannot be used.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        *,
        revision: str | None = None,
        memory_budget: int | str | None = None,
        threads: int | None = None,
        max_length: int | None = None,
        cutoff_layers: int | None = None,
        compress_ratio: int | None = None,
        compress_layers: Sequence[int] | None = None,
        long: Long = None,
        instruction: str | None = None,
        precision: Literal["full", "exact", "fast"] = "exact",
        isa: str | None = None,
        window: int | str = "auto",
        chunk_tokens: int | None = None,
        spill: Literal["auto", "always", "never"] = "auto",
        spill_folder: str | PathLike[str] | None = None,
        row_cache: int | str = "auto",
        io: Literal["auto", "direct", "cached"] = "auto",
        shared_prefix: bool = True,
        scored_rows: bool = True,
        equal_texts: bool = True,
        pruning: Pruning = None,
        profile: Profile | str | PathLike[str] | None = None,
        target_agreement: float | None = None,
        confidence: float = 0.95,
        learning_file: str | PathLike[str] | None = None,
        audit: float | None = None,
        queue_length: int | None = None,
        joint_passes: bool = True,
        special_tokens_in_text: bool = False,
        refuse_long_query: bool = False,
        cache_folder: str | PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | None = None,
    ) -> None:
        if profile is not None and not isinstance(profile, Profile):
            profile = Profile.read(profile)
        self._place = place(model, revision, cache_folder, local_files_only, token)
        self._settings: dict[str, Any] = {
            "memory_budget": _size(memory_budget),
            "threads": _count("threads", threads),
            "max_length": _count("max_length", max_length),
            "cutoff_layers": _count("cutoff_layers", cutoff_layers),
            "compress_ratio": _count("compress_ratio", compress_ratio),
            "compress_layers": None if compress_layers is None else _layers(compress_layers),
            "long": long_texts(long),
            "instruction": instruction,
            "precision": precision,
            "isa": isa,
            "window": str(window),
            "chunk_tokens": _count("chunk_tokens", chunk_tokens),
            "spill": spill,
            "spill_folder": spill_folder,
            "row_cache": str(row_cache),
            "io": io,
            "shared_prefix": shared_prefix,
            "scored_rows": scored_rows,
            "equal_texts": equal_texts,
            "pruning": _pruning(pruning),
            "profile": None if profile is None else profile._json(),
            "target_agreement": target_agreement,
            "confidence": float(confidence),
            "learning_file": learning_file,
            "audit": None if audit is None else float(audit),
            "queue_length": _count("queue_length", queue_length),
            "joint_passes": joint_passes,
            "special_tokens_in_text": special_tokens_in_text,
            "refuse_long_query": refuse_long_query,
        }
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._open: _native.Reranker | None = _native.Reranker(self._place, self._settings)

    def _native(self) -> _native.Reranker:
        if self._process != os.getpid() and self._open is not None:
            # Of the threads of a process only the one that forks lives on in the child.
            self._open.forget()
            self._start()
        if self._open is None:
            raise InputError("the reranker is closed")
        return self._open

    # -- Requests ------------------------------------------------------------------------------------------------------

    def rerank(
        self,
        query: str,
        texts: Iterable[str],
        k: int = 10,
        *,
        instruction: str | None = None,
        max_text_tokens: int | None = None,
        long: Long = None,
        pruning: Pruning = None,
        mode: Mode | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        on_progress: Progress | None = None,
        wait_for_a_place: bool = True,
        trace: bool = False,
        attention: str | Mapping[str, Any] | None = None,
        timeline: bool = False,
    ) -> Selection:
        """Selects the ``k`` texts most relevant to ``query``, best first; all of them where there are fewer.

        Texts may be empty, of any language and any length; past the maximum length they are cut, which the result
        says. Ctrl-c ends it at the next chunk of a layer.

        Args:
            instruction: What the query is for; replaces the reranker's own.
            max_text_tokens: Most tokens of a text by itself; longer ones are cut. The reranker's ``max_length`` counts
                besides, for a text with its query.
            long: What becomes of longer texts: ``truncate``, ``passages``, ``prune``, or :class:`~grating.Passages` or
                :class:`~grating.Prune` with its settings; replaces the reranker's own. ``max_text_tokens`` counts before a
                text is cut into passages.
            pruning: How to prune; replaces the reranker's own setting.
            mode: ``select`` promises membership in the top K, ``rank`` also exact scores and order.
            deadline: Seconds after which it is given up.
            cancel: Ends it from another thread.
            on_progress: Is told candidate-layers done, of how many, the layer at work and the layers of the model.
                What it raises ends the request.
            wait_for_a_place: Whether to wait where the queue is full; otherwise :class:`~grating.errors.QueueFull` is
                raised at once.
            trace: Record every text's logit after every layer; nothing is pruned then.
            attention: Record what attention tells this token policy of each long text; everything is computed then
                (:attr:`Selection.attention`, :meth:`replay_tokens`).
            timeline: Record what runs when.

        Raises:
            InputError: ``k`` is 0, there are no texts, or a setting cannot be used.
            BudgetError: The memory budget has no room for the texts.
            DeadlineExceeded, Cancelled, QueueFull: As they say.
        """
        texts = _texts(texts)
        options = self._options(k, instruction, max_text_tokens, long, pruning, mode, deadline, cancel, trace, timeline)
        options["attention"] = None if attention is None else token_policy(attention)
        _refuse_blanks(query, texts)
        native = self._native().run(query, texts, options, on_progress, wait_for_a_place)
        return Selection(native, texts)

    async def rerank_async(
        self,
        query: str,
        texts: Iterable[str],
        k: int = 10,
        *,
        instruction: str | None = None,
        max_text_tokens: int | None = None,
        long: Long = None,
        pruning: Pruning = None,
        mode: Mode | None = None,
        deadline: float | None = None,
        wait_for_a_place: bool = True,
        trace: bool = False,
        attention: str | Mapping[str, Any] | None = None,
        timeline: bool = False,
    ) -> Selection:
        """As :meth:`rerank`, for asyncio. Cancelling the task cancels the request, waiting or running."""
        cancel = CancelToken()
        call = lambda: self.rerank(  # noqa: E731
            query,
            texts,
            k,
            instruction=instruction,
            max_text_tokens=max_text_tokens,
            long=long,
            pruning=pruning,
            mode=mode,
            deadline=deadline,
            cancel=cancel,
            wait_for_a_place=wait_for_a_place,
            trace=trace,
            attention=attention,
            timeline=timeline,
        )
        return await self._aside(call, cancel)

    def rerank_many(
        self,
        queries: Iterable[str],
        texts: Iterable[str] | Iterable[Iterable[str]],
        k: int = 10,
        *,
        instruction: str | None = None,
        max_text_tokens: int | None = None,
        long: Long = None,
        pruning: Pruning = None,
        mode: Mode | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        on_answer: Callable[[int, int], object] | None = None,
    ) -> list[Selection]:
        """Answers several queries, in their order; they share passes through the layers where that is sooner.

        Args:
            queries: What is asked.
            texts: One list of texts for all queries, or a list of texts for each.
            deadline: Seconds that each request may take from when it enters the queue.
            on_answer: Is told how many are answered, and of how many.

        Raises:
            InputError: There are not as many lists of texts as queries, and what :meth:`rerank` raises.
        """
        queries = _texts(queries)
        pools = self._pools(queries, texts)
        options = self._options(k, instruction, max_text_tokens, long, pruning, mode, deadline, cancel)
        for query, pool in zip(queries, pools):
            _refuse_blanks(query, pool)
        natives = self._native().run_many(list(zip(queries, pools)), options, on_answer)
        return [Selection(native, pool) for native, pool in zip(natives, pools)]

    async def rerank_many_async(
        self,
        queries: Iterable[str],
        texts: Iterable[str] | Iterable[Iterable[str]],
        k: int = 10,
        *,
        instruction: str | None = None,
        max_text_tokens: int | None = None,
        long: Long = None,
        pruning: Pruning = None,
        mode: Mode | None = None,
        deadline: float | None = None,
    ) -> list[Selection]:
        """As :meth:`rerank_many`, for asyncio. Cancelling the task cancels all of them."""
        cancel = CancelToken()
        call = lambda: self.rerank_many(  # noqa: E731
            queries,
            texts,
            k,
            instruction=instruction,
            max_text_tokens=max_text_tokens,
            long=long,
            pruning=pruning,
            mode=mode,
            deadline=deadline,
            cancel=cancel,
        )
        return await self._aside(call, cancel)

    def score(
        self,
        pairs: Sequence[tuple[str, str]] | Sequence[Sequence[str]],
        *,
        instruction: str | None = None,
        max_text_tokens: int | None = None,
        long: Long = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        on_progress: Progress | None = None,
    ) -> list[float]:
        """Logits of pairs of a query and a text, in their order, each by the full model.

        All pairs go through the model together, whatever their queries are; pairs of one query share its prefix.

        Raises:
            InputError: A pair is not of two strings.
            BudgetError: The memory budget has no room for them.
        """
        queries, texts = _columns(pairs)
        if not queries:
            return []
        options = self._options(1, instruction, max_text_tokens, long, False, None, deadline, cancel)
        native = self._native()
        if len(set(queries)) == 1:
            return native.run(queries[0], texts, options, on_progress, True).logits()
        return native.score_pairs(queries, texts, options, on_progress)

    def _options(
        self,
        k: int,
        instruction: str | None = None,
        max_text_tokens: int | None = None,
        long: Long = None,
        pruning: Pruning = None,
        mode: Mode | None = None,
        deadline: float | None = None,
        cancel: CancelToken | None = None,
        trace: bool = False,
        timeline: bool = False,
    ) -> dict[str, Any]:
        return {
            "k": _count("k", k),
            "instruction": instruction,
            "max_text_tokens": _count("max_text_tokens", max_text_tokens),
            "long": long_texts(long),
            "pruning": _pruning(pruning),
            "mode": mode,
            "trace": trace,
            "attention": None,
            "timeline": timeline,
            "deadline": deadline,
            "cancel": cancel,
        }

    @staticmethod
    def _pools(
        queries: list[str], texts: Iterable[str] | Iterable[Iterable[str]]
    ) -> list[list[str]]:
        given = _texts(texts)  # type: ignore[arg-type]
        if all(isinstance(text, str) for text in given):
            return [given] * len(queries)
        pools = [_texts(pool) for pool in given]
        if len(pools) != len(queries):
            raise InputError(f"{len(queries)} queries and {len(pools)} lists of texts: give one list, or one each")
        return pools

    async def _aside(self, call: Callable[[], T], cancel: CancelToken) -> T:
        """Runs it on a thread, as many at a time as may wait and one that is computed."""
        self._native()
        with self._lock:
            if self._executor is None:
                workers = 1 + (self._settings["queue_length"] or 8)
                self._executor = ThreadPoolExecutor(workers, thread_name_prefix="grating")
            executor = self._executor
        future = asyncio.get_running_loop().run_in_executor(executor, call)
        try:
            return await future
        except asyncio.CancelledError:
            cancel.cancel()
            raise

    # -- Plans and figures ---------------------------------------------------------------------------------------------

    def plan(self, candidates: int, tokens: int, *, long: Long = None) -> dict[str, Any]:
        """How a pool of ``candidates`` texts of ``tokens`` tokens each (template, query and text) would be run now.

        Args:
            long: What becomes of them where they are long, as for :meth:`rerank`.

        Raises:
            BudgetError: The memory budget is too small; the message names the least.
        """
        plan: dict[str, Any] = json.loads(
            self._native().plan(
                _count("candidates", candidates) or 0, _count("tokens", tokens) or 0, long_texts(long)
            )
        )
        return plan

    def replay_tokens(self, policy: str | Mapping[str, Any], attention: Attention) -> TokenOutcome:
        """What a token policy would have done with a text whose attention was recorded, without a run.

        It is exact for the first stage. Later ones are estimates: what leaves changes what follows.

        Args:
            policy: A policy with stages at the same depths and by the same signals as the one that was recorded; shares,
                thresholds, blocks and protected ends may be others.
            attention: Of one text of :attr:`Selection.attention`.

        Raises:
            InputError: The policy is none, or its stages are others.
        """
        told = (attention.prefix_tokens, (attention.start, attention.end), attention.mass)
        return TokenOutcome(*self._native().replay_tokens(token_policy(policy), told))

    @property
    def info(self) -> dict[str, Any]:
        """The model's family, template, shapes and sizes."""
        info: dict[str, Any] = json.loads(self._native().info())
        return info

    @property
    def audits(self) -> AuditTotals:
        """How audited requests have agreed with the full model so far."""
        return AuditTotals(**json.loads(self._native().audits()))

    @property
    def monitored(self) -> list[dict[str, Any]]:
        """How the profiles that prune are doing on the requests so far; ``in_use`` says which of them prune."""
        monitored: list[dict[str, Any]] = json.loads(self._native().monitored())
        return monitored

    @property
    def learned(self) -> list[dict[str, Any]] | None:
        """What pruning has learned for each K, where it learns from the requests (``target_agreement``)."""
        learned: list[dict[str, Any]] | None = json.loads(self._native().learned())
        return learned

    @property
    def waiting(self) -> int:
        """Requests that wait in the queue or for a place in it."""
        return sum(self._native().waiting())

    def calibrate(
        self,
        data: str | PathLike[str] | Iterable[tuple[str, Iterable[str]]],
        k: int,
        target_agreement: float,
        *,
        confidence: float = 0.95,
        mode: Mode = "select",
        readout: Literal["best", "head", "fitted"] = "best",
        traces: str | PathLike[str] | None = None,
        token_policies: Iterable[str | Mapping[str, Any]] = (),
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Profile:
        """Finds the cheapest pruning policy that keeps a promise on sample queries.

        Args:
            data: Sample queries with their texts, or a file or folder of them as ``grating calibrate --data`` reads.
            k: How many texts requests will ask for.
            target_agreement: Least mean agreement with the full model's top K to promise, between 0 and 1.
            confidence: Probability that the promise is kept, over the draw of the sample, between 0 and 1.
            readout: How scores after intermediate layers are read.
            traces: File of the recorded scores: a run that was stopped goes on from it.
            token_policies: Policies by which tokens may leave long texts, as :class:`Prune` takes them; each query is run
                with each, too, and the profile has one of them where it is certified.
            on_progress: Is told how many queries are done, and of how many.

        Raises:
            CalibrationError: The sample is not in order.
        """
        sample: Any
        if isinstance(data, (str, PathLike)):
            sample = data
        else:
            sample = [(query, _texts(texts)) for query, texts in data]
        promise = {
            "k": _count("k", k),
            "agreement": float(target_agreement),
            "confidence": float(confidence),
            "mode": mode,
            "readout": readout,
            "traces": traces,
            "token_policies": [json.dumps(p if isinstance(p, str) else dict(p)) for p in token_policies],
        }
        return Profile(json.loads(_native.calibrate(self._native(), sample, promise, on_progress)))

    # -- Life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends the reranker's threads and frees its memory; requests that run are answered before."""
        if self._process == os.getpid():
            with self._lock:
                native, self._open = self._open, None
                executor, self._executor = self._executor, None
            if native is not None:
                native.close()
            if executor is not None:
                executor.shutdown(wait=False)

    def __enter__(self) -> Reranker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """The settings: what is unpickled opens the model anew."""
        return {"_place": self._place, "_settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __repr__(self) -> str:
        if self._open is None:
            return "Reranker(closed)"
        info = self.info
        return f"Reranker({info['name']!r}, family={info['family']!r}, layers={info['layers']})"


def _columns(pairs: Iterable[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Queries and texts of pairs."""
    queries, texts = [], []
    for i, pair in enumerate(pairs):
        if isinstance(pair, (str, bytes)) or len(pair) != 2:
            raise InputError(f"pair {i} is not a query and a text")
        queries.append(pair[0])
        texts.append(pair[1])
    return queries, texts
