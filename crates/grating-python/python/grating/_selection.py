"""The answer to a request: results, scores of all texts, figures."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from . import _native
from ._long import Attention, BestPassage, best_passage, recorded

__all__ = ["Audit", "AuditTotals", "LastScore", "LayerStats", "Ranked", "Selection", "Stats"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One selected text."""

    index: int
    """Index of the text in the request."""
    score: float
    """Probability that the text is relevant, 0 to 1: the sigmoid of ``raw_score``."""
    raw_score: float
    """The model's own output, a logit."""
    decided_after_layer: int
    """Layer, counted from 0, after which its place was decided."""
    truncated: bool
    """Whether a part of the text was left out: what is beyond the maximum length, or the most passages."""
    passage: BestPassage | None
    """Of a text that was cut into several passages, the best one."""
    text: str
    """The text itself."""


@dataclass(frozen=True, slots=True)
class LastScore:
    """The last score of one text, selected or not."""

    index: int
    """Index of the text in the request."""
    score: float
    """Probability that the text is relevant, 0 to 1: the sigmoid of ``raw_score``."""
    raw_score: float
    """The model's own output, a logit; in a ranking it may be ``altered``."""
    layer: int
    """Layer, counted from 0, whose hidden states the score was read from."""
    is_final: bool
    """Whether that was the model's last layer, so that the score is the full model's."""
    altered: bool
    """Whether the scores are not as they were read, so that a ranking falls."""
    selected: bool
    """Whether the text is among the results."""
    decided_after_layer: int
    """Layer, counted from 0, after which it was decided whether the text is among them."""
    truncated: bool
    """Whether a part of the text was left out: what is beyond the maximum length, or the most passages."""
    passage: BestPassage | None
    """Of a text that was cut into several passages, the best one."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What pruning would have done with an audited request, which got the full model's result."""

    agreement: float
    """Share of the full model's top K that the policy would have selected, 0 to 1."""
    candidate_layers: int
    """Candidate-layers that it would have computed."""


@dataclass(frozen=True, slots=True)
class AuditTotals:
    """All audits of a reranker so far."""

    requests: int
    """Requests with a policy that were answered, audited or not."""
    audited: int
    """Audited ones."""
    mean_agreement: float | None
    """Mean agreement with the full model's top K over the audited ones, 0 to 1."""


@dataclass(frozen=True, slots=True)
class LayerStats:
    """What happened after one layer."""

    layer: int
    """The layer, from 0."""
    live: int
    """Candidates that it computed."""
    tokens: int
    """Their tokens that entered it, without a shared prefix."""
    tokens_left: int
    """Of those, the ones that left their texts by its attention."""
    accepted: list[int]
    """Texts (by index) accepted after it."""
    dropped: list[int]
    """Texts dropped after it."""
    deferred: int
    """Candidates that nothing was decided about."""
    dispersion: float | None
    """Dispersion of the live candidates' scores in the policy's measure, where it was looked at."""
    clusters: list[dict[str, Any]]
    """Clusters of the scores, best first, where they were clustered."""
    reason: str | None
    """Why these are the verdicts."""
    stall_ms: float
    """Milliseconds in which computing waited for the layer's weights."""
    time_ms: float
    """Milliseconds of the layer, waiting included."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of a request. Times are in milliseconds, sizes in bytes."""

    candidates: int
    """Texts of the request."""
    distinct_candidates: int
    """Different texts among them; equal ones are computed once."""
    passages: int
    """What was computed of them: passages where long texts are cut into such, each text otherwise."""
    in_passages: int
    """Texts that were cut into several passages."""
    tokens: int
    """Tokens of all candidates, templates and the shared prefix included."""
    prefix_tokens: int
    """Tokens that all candidates begin with and that were computed once."""
    truncated: int
    """Candidates of whose text a part was left out."""
    query_truncated: int
    """Candidates beside whose text the query was cut."""
    layers: int
    """Layers of the model."""
    candidate_layers: int
    """Layers computed for a candidate, summed over the candidates; without pruning ``passages * layers``."""
    token_layers: int
    """Tokens that entered a layer, summed over the layers, without those of the shared prefix."""
    tokens_left: int
    """Tokens that left their texts on the way, where ``long`` prunes."""
    chunks: int
    """Runs of candidates that went through layer 0 together."""
    threads: int
    """Threads that computed."""
    weight_bytes_read: int
    """Weight bytes read from the checkpoint, those read ahead for the next request included."""
    direct_io: bool
    """Whether weights were read past the system's page cache."""
    read_ms: float
    """In which weights were being read."""
    stall_ms: float
    """In which computing waited for weights."""
    overlap: float
    """Share of the reading that computing covered, 0 to 1; 1 where nothing was read."""
    row_cache_hits: int
    """Distinct embedding rows found in the row cache."""
    row_cache_misses: int
    """Distinct embedding rows that were read."""
    row_bytes_read: int
    """Embedding bytes read from the checkpoint."""
    spill_bytes_written: int
    """Hidden states written to disk."""
    spill_bytes_read: int
    """Hidden states read from disk."""
    spill_wait_ms: float
    """In which computing waited for hidden states."""
    spill_error: str | None
    """Why hidden states stayed in memory that should have gone to disk, if that happened."""
    tokenize_ms: float
    """Text to tokens."""
    queued_ms: float
    """In the queue, until computing began."""
    requests_in_pass: int
    """Requests of the pass through the layers, this one included."""
    embed_ms: float
    """Tokens to hidden states."""
    compute_ms: float
    """Layers and head, without the waiting for weights."""
    operations_ms: dict[str, float]
    """What of ``compute_ms`` each kind of operation took."""
    total_ms: float
    """From the call to its return, time in the queue included."""
    funnel: list[LayerStats]
    """What happened after each layer that ran."""
    audit: Audit | None
    """What pruning would have done, where the request was audited."""
    monitor: dict[str, Any] | None
    """How the profile that prunes requests for this K is doing on them; ``in_use`` says whether it prunes."""
    learning: dict[str, Any] | None
    """What is known for this K, where pruning is learned from the requests."""
    memory: dict[str, Any]
    """Who takes how much memory, planned and held."""
    links: list[dict[str, Any]]
    """What passed over each link between memories, and how fast they are."""
    peak_rss_bytes: int | None
    """Largest resident set of the process so far (VmHWM), where the system tells."""

    @classmethod
    def _from_json(cls, text: str) -> Stats:
        fields = json.loads(text)
        fields["funnel"] = [LayerStats(**layer) for layer in fields["funnel"]]
        fields["audit"] = fields["audit"] and Audit(**fields["audit"])
        return cls(**fields)

    @property
    def saved(self) -> float:
        """Share of the candidate-layers that pruning saved, 0 to 1."""
        full = self.passages * self.layers
        return 1.0 - self.candidate_layers / full if full else 0.0


def _last_score(last: tuple[Any, ...]) -> LastScore:
    index, score, raw_score, layer, is_final, altered, selected, decided, truncated, passage = last
    best = best_passage(passage)
    return LastScore(index, score, raw_score, layer, is_final, altered, selected, decided, truncated, best)


class Selection(Sequence[Ranked]):
    """The selected texts, best first, and what the selection cost. A sequence of :class:`Ranked`.

    Without pruning, and with it in mode ``rank``, results come by falling score; equal scores keep the order of the
    texts. In mode ``select`` they come in the order in which they were accepted.
    """

    def __init__(self, native: _native.Selection, texts: Sequence[str]) -> None:
        self._native: _native.Selection | None = native
        self._results = [
            Ranked(*ranked[:5], passage=best_passage(ranked[5]), text=texts[ranked[0]]) for ranked in native.results()
        ]

    @property
    def results(self) -> list[Ranked]:
        """The results as a list."""
        return list(self._results)

    @cached_property
    def stats(self) -> Stats:
        """Figures of the request."""
        return Stats._from_json(self._held().stats_json())

    @cached_property
    def plan(self) -> dict[str, Any]:
        """How the request was planned: window, chunks, row cache, spilling and their bytes."""
        plan: dict[str, Any] = json.loads(self._held().plan_json())
        return plan

    @cached_property
    def trace(self) -> list[list[float]] | None:
        """Logits after every layer, ``[layer][text]``, if the request asked for them."""
        return self._held().trace()

    @cached_property
    def attention(self) -> list[Attention | None] | None:
        """What attention tells of each text, if the request asked for it; nothing of texts too short for the policy."""
        traces = self._held().attention()
        return None if traces is None else recorded(traces)

    @cached_property
    def timeline(self) -> dict[str, Any] | None:
        """What ran when, for Perfetto or chrome://tracing, if the request asked for it."""
        text = self._held().timeline_json()
        return None if text is None else json.loads(text)

    @cached_property
    def _all(self) -> list[LastScore]:
        return [_last_score(last) for last in self._held().all_scores()]

    @cached_property
    def _ranking(self) -> list[LastScore]:
        return [_last_score(last) for last in self._held().ranking()]

    def all_scores(self) -> list[LastScore]:
        """The last score of every text, selected or not, by index, as it was read after the layer that it names.

        Scores of different layers do not compare; see :meth:`ranking`.
        """
        return list(self._all)

    def ranking(self) -> list[LastScore]:
        """All texts, the best first, with scores that never rise: the results in their order, then the others.

        The order never contradicts what pruning decided. Scores that had to be raised or lowered for it are marked as
        ``altered``. Without pruning all scores are final and none is altered.
        """
        return list(self._ranking)

    def _held(self) -> _native.Selection:
        assert self._native is not None, "what a pickle holds was read before"
        return self._native

    @overload
    def __getitem__(self, at: int) -> Ranked: ...
    @overload
    def __getitem__(self, at: slice) -> list[Ranked]: ...
    def __getitem__(self, at: int | slice) -> Ranked | list[Ranked]:
        return self._results[at]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self._results)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and self._results == other._results

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        held = ("stats", "plan", "trace", "attention", "timeline", "_all", "_ranking")
        state: dict[str, Any] = {name: getattr(self, name) for name in held}
        return {**state, "_results": self._results, "_native": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _summary(self) -> str:
        stats = self.stats
        saved = f", {stats.saved:.0%} of the layers saved" if stats.saved > 0 else ""
        return f"{len(self)} of {stats.candidates} texts in {stats.total_ms:.1f} ms{saved}"

    def __repr__(self) -> str:
        lines = [f"Selection: {self._summary()}"]
        for place, ranked in enumerate(self._results, 1):
            text = " ".join(ranked.text.split())
            shown = text if len(text) <= 72 else text[:71] + "…"
            lines.append(f"{place:>3}  {ranked.score:.4f}  #{ranked.index:<4} {shown}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = []
        for place, ranked in enumerate(self._results, 1):
            text = ranked.text if len(ranked.text) <= 300 else ranked.text[:299] + "…"
            width = round(100 * ranked.score)
            bar = (
                '<div style="background:#8884;width:6em;display:inline-block;margin-right:.5em">'
                f'<div style="background:#2a7;width:{width}%;height:.7em"></div></div>'
            )
            rows.append(
                f"<tr><td>{place}</td><td>{ranked.index}</td>"
                f'<td style="white-space:nowrap">{bar}{ranked.score:.4f}</td><td>{ranked.raw_score:.3f}</td>'
                f"<td>{ranked.decided_after_layer}</td>"
                f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            )
        head = "".join(f"<th>{name}</th>" for name in ("", "text", "score", "logit", "layer", ""))
        return (
            f"<table><caption>{html.escape(self._summary())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        )
