"""Haystack: a ranker component. Needs ``haystack-ai``.

>>> from grating.haystack import GratingRanker
>>> pipeline.add_component("ranker", GratingRanker(top_k=5))
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from ._reranker import Reranker

__all__ = ["GratingRanker"]


@component
class GratingRanker:
    """Keeps the ``top_k`` documents most relevant to the query, best first, with probabilities, 0 to 1, as scores.

    Args:
        model: Folder or hub id; nothing for the built-in model.
        top_k: How many documents to keep.
        settings: Further settings of :class:`grating.Reranker`.
        meta_fields_to_embed: Fields of the metadata that are ranked with the text, before it.
    """

    def __init__(
        self,
        model: str | None = None,
        top_k: int = 10,
        settings: dict[str, Any] | None = None,
        meta_fields_to_embed: list[str] | None = None,
    ) -> None:
        self.model = model
        self.top_k = top_k
        self.settings = settings or {}
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self._reranker: Reranker | None = None

    def warm_up(self) -> None:
        """Opens the model, which the first run does otherwise."""
        if self._reranker is None:
            self._reranker = Reranker(self.model, **self.settings)

    def to_dict(self) -> dict[str, Any]:
        """As Haystack stores pipelines."""
        return default_to_dict(
            self,
            model=self.model,
            top_k=self.top_k,
            settings=self.settings,
            meta_fields_to_embed=self.meta_fields_to_embed,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GratingRanker:
        """From what :meth:`to_dict` made."""
        ranker: GratingRanker = default_from_dict(cls, data)
        return ranker

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Ranks the documents; ``top_k`` replaces the component's own."""
        if not documents:
            return {"documents": []}
        self.warm_up()
        assert self._reranker is not None
        texts = [self._text(document) for document in documents]
        selection = self._reranker.rerank(query, texts, top_k or self.top_k, mode="rank")
        return {"documents": [replace(documents[r.index], score=r.score) for r in selection]}

    def _text(self, document: Document) -> str:
        fields = [str(document.meta[f]) for f in self.meta_fields_to_embed if document.meta.get(f)]
        return "\n".join([*fields, document.content or ""])
