"""What becomes of texts that are longer than the limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .errors import InputError

__all__ = ["Attention", "BestPassage", "Passages", "Prune", "TokenOutcome"]


@dataclass(frozen=True, slots=True)
class Passages:
    """Long texts are cut into passages, each of which is scored as a text of its own.

    The passages of a text are selected or dropped together, and ``k`` counts texts. Shorter texts are read as they are.
    """

    tokens: int | None = None
    """Most tokens of a passage by itself, where that is less than fits beside the query."""
    overlap: int = 0
    """Tokens, about, that a passage has of the end of the one before; at most half of it."""
    score: str = "max"
    """A text's score from those of its passages: ``max``, or ``mean:N`` for the mean of the N best."""
    max_passages: int = 64
    """Most passages of a text; what follows them is left out, and the text counts as truncated."""


@dataclass(frozen=True, slots=True)
class Prune:
    """The tokens of long texts that matter least leave on their way through the layers: sooner, and not exact.

    Texts below the policy's least length keep their scores to the bit.
    """

    policy: str | Mapping[str, Any] = "grating"
    """``grating``, ``lazy-llm`` or ``slim-infer``, each with the share that stays if you like (``grating:0.5``), or the
    fields of a token policy."""


Long = Literal["truncate", "passages", "prune"] | Passages | Prune | None
"""``truncate`` leaves the end of long texts out; ``passages``, or :class:`Passages` with its settings, reads all of them;
with ``prune``, or :class:`Prune` with its policy, tokens leave that matter least."""


@dataclass(frozen=True, slots=True)
class BestPassage:
    """The passage with the best score of a text that was cut into several."""

    index: int
    """Its place among the text's passages, from 0."""
    of: int
    """How many the text has."""
    start: int
    """Where it begins in the text, bytes of UTF-8."""
    end: int
    """Where it ends."""

    def text(self, whole: str) -> str:
        """The passage itself, of the text that it is of."""
        return whole.encode()[self.start : self.end].decode()


@dataclass(frozen=True, slots=True)
class Attention:
    """What attention tells a token policy of a long text, recorded while no token leaves."""

    prefix_tokens: int
    """Tokens before the text's own rows, which all texts share."""
    start: int
    """Place of the text's first token among all, template and query included."""
    end: int
    """Place behind its last token."""
    mass: list[list[float]]
    """The signal of each row by stage, ``[stage][row]``."""


@dataclass(frozen=True, slots=True)
class TokenOutcome:
    """What a token policy would have done with a text whose attention was recorded."""

    left: list[list[int]]
    """Places of the rows that are left after each stage."""
    exact_stages: int
    """Of the stages, how many are as the model would have it; the others are estimates."""
    token_layers: int
    """Rows that enter a layer, summed over the layers."""


def token_policy(policy: str | Mapping[str, Any]) -> str:
    """A token policy, by its name or its fields, as the native half takes it."""
    return json.dumps(policy if isinstance(policy, str) else dict(policy))


def long_texts(long: Long) -> dict[str, Any] | None:
    """As the native half takes it."""
    if long is None:
        return None
    passages, prune = Passages(), None
    if isinstance(long, Passages):
        passages = long
    elif isinstance(long, Prune) or long == "prune":
        policy = long.policy if isinstance(long, Prune) else Prune().policy
        prune = token_policy(policy)
    elif long not in ("truncate", "passages"):
        raise InputError(f"long is {long!r}, expected truncate, passages, prune, or Passages or Prune with settings")
    for name, value, least in (
        ("tokens", passages.tokens, 1),
        ("overlap", passages.overlap, 0),
        ("max_passages", passages.max_passages, 1),
    ):
        if value is not None and (int(value) != value or value < least):
            raise InputError(f"{name} of passages is {value!r}, expected a whole number of at least {least}")
    return {
        "passages": long != "truncate",
        "prune": prune,
        "tokens": passages.tokens,
        "overlap": passages.overlap,
        "score": passages.score,
        "max_passages": passages.max_passages,
    }


def recorded(traces: list[tuple[int, tuple[int, int], list[list[float]]] | None]) -> list[Attention | None]:
    """Of the native half."""
    return [None if trace is None else Attention(trace[0], *trace[1], trace[2]) for trace in traces]


def best_passage(passage: tuple[int, int, int, int] | None) -> BestPassage | None:
    """Of the native half."""
    return None if passage is None else BestPassage(*passage)
