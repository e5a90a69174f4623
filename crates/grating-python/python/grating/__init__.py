"""Semantic top-K selection with cross-encoder rerankers: a query and N texts go in, the K best come out.

>>> import grating
>>> reranker = grating.Reranker()  # the model that is built in
>>> best = reranker.rerank("capital of France", ["Paris is a city.", "The cat sat."], k=1)
>>> best[0].index
0

:class:`Reranker` is the whole; :class:`CrossEncoder` takes the place of sentence-transformers' class of that name.
:mod:`grating.langchain`, :mod:`grating.llamaindex`, :mod:`grating.haystack`, :mod:`grating.rerankers` and
:mod:`grating.ray` are adapters, which need their frameworks.
"""

from . import errors
from ._cross_encoder import CrossEncoder
from ._long import Attention, BestPassage, Passages, Prune, TokenOutcome
from ._models import doctor, inspect, quantize
from ._native import CancelToken, __version__
from ._profile import Profile
from ._reranker import Reranker
from ._selection import Audit, AuditTotals, LastScore, LayerStats, Ranked, Selection, Stats
from .errors import GratingError

__all__ = [
    "Attention",
    "Audit",
    "AuditTotals",
    "BestPassage",
    "CancelToken",
    "CrossEncoder",
    "GratingError",
    "LastScore",
    "LayerStats",
    "Passages",
    "Prune",
    "Profile",
    "Ranked",
    "Reranker",
    "Selection",
    "Stats",
    "TokenOutcome",
    "__version__",
    "doctor",
    "errors",
    "inspect",
    "quantize",
]
