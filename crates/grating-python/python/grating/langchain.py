"""LangChain: a document compressor and a cross-encoder. Needs ``langchain-core`` (the cross-encoder also
``langchain-classic`` or ``langchain``).

>>> from grating.langchain import GratingRerank
>>> retriever = ContextualCompressionRetriever(base_compressor=GratingRerank(top_n=5), base_retriever=base)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr

from ._reranker import Reranker

__all__ = ["GratingCrossEncoder", "GratingRerank"]


class GratingRerank(BaseDocumentCompressor):
    """Keeps the ``top_n`` documents most relevant to the query, best first.

    ``metadata["relevance_score"]`` of a document that is returned is its probability, 0 to 1.
    """

    model: str | None = None
    """Folder or hub id; nothing for the built-in model."""
    top_n: int = 3
    """How many documents to keep."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further settings of :class:`grating.Reranker`, ``{"memory_budget": "400MiB"}`` for instance."""
    reranker: Any = None
    """A reranker that is there already; shared, and not opened from ``model``."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())
    _own: Reranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        self._own = self.reranker or Reranker(self.model, **self.settings)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The documents that are kept, as copies with their score."""
        if not documents:
            return []
        texts = [document.page_content for document in documents]
        return self._kept(documents, self._own.rerank(query, texts, self.top_n, mode="rank"))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """As :meth:`compress_documents`; cancelling the task cancels the request."""
        if not documents:
            return []
        texts = [document.page_content for document in documents]
        selection = await self._own.rerank_async(query, texts, self.top_n, mode="rank")
        return self._kept(documents, selection)

    @staticmethod
    def _kept(documents: Sequence[Document], selection: Any) -> list[Document]:
        kept = []
        for ranked in selection:
            document = documents[ranked.index]
            metadata = {**document.metadata, "relevance_score": ranked.score}
            kept.append(document.model_copy(update={"metadata": metadata}))
        return kept


class GratingCrossEncoder(BaseCrossEncoder):
    """Scores of pairs, for LangChain's own ``CrossEncoderReranker``. Keywords are those of :class:`grating.Reranker`."""

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        self.reranker = Reranker(model, **settings)

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Logits, in the order of the pairs."""
        return self.reranker.score(text_pairs)
