"""AnswerDotAI's ``rerankers``: a ranker of its kind. Needs ``rerankers``.

>>> from grating.rerankers import GratingRanker
>>> GratingRanker().rank("capital of France", ["Paris is a city.", "The cat sat."]).top_k(1)
"""

from __future__ import annotations

from typing import Any

from rerankers.documents import Document
from rerankers.models.ranker import BaseRanker
from rerankers.results import RankedResults, Result
from rerankers.utils import prep_docs

from ._reranker import Reranker

__all__ = ["GratingRanker"]


class GratingRanker(BaseRanker):  # type: ignore[misc]
    """A ranker with logits as scores. Keywords are those of :class:`grating.Reranker`."""

    def __init__(
        self, model_name_or_path: str | None = None, verbose: int = 1, **settings: Any
    ) -> None:
        self.verbose = verbose
        self.model_name_or_path = model_name_or_path
        self.reranker = Reranker(model_name_or_path, **settings)

    def score(self, query: str, doc: str) -> float:
        """The logit of one document."""
        return self.reranker.score([(query, doc)])[0]

    def rank(
        self,
        query: str,
        docs: str | list[str] | Document | list[Document],
        doc_ids: list[str] | list[int] | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """All documents, best first."""
        documents = prep_docs(docs, doc_ids, metadata)
        texts = [document.text for document in documents]
        selection = self.reranker.rerank(query, texts, len(texts), pruning=False)
        results = [
            Result(document=documents[ranked.index], score=ranked.raw_score, rank=place)
            for place, ranked in enumerate(selection, 1)
        ]
        return RankedResults(results=results, query=query, has_scores=True)

    async def rank_async(
        self,
        query: str,
        docs: str | list[str] | Document | list[Document],
        doc_ids: list[str] | list[int] | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """As :meth:`rank`, on a thread."""
        import asyncio

        return await asyncio.to_thread(self.rank, query, docs, doc_ids, metadata)
