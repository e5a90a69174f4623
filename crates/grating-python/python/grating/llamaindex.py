"""LlamaIndex: a node postprocessor. Needs ``llama-index-core``.

>>> from grating.llamaindex import GratingRerank
>>> engine = index.as_query_engine(node_postprocessors=[GratingRerank(top_n=5)])
"""

from __future__ import annotations

from typing import Any, Optional

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from ._reranker import Reranker

__all__ = ["GratingRerank"]


class GratingRerank(BaseNodePostprocessor):
    """Keeps the ``top_n`` nodes most relevant to the query, best first, with probabilities, 0 to 1, as scores."""

    model: Optional[str] = Field(default=None, description="Folder or hub id; nothing for the built-in model.")
    top_n: int = Field(default=3, description="How many nodes to keep.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Further settings of grating.Reranker."
    )
    keep_retrieval_score: bool = Field(
        default=False, description="Whether the retriever's score stays in the metadata, as `retrieval_score`."
    )
    _reranker: Reranker = PrivateAttr()

    def __init__(self, reranker: Optional[Reranker] = None, **fields: Any) -> None:
        super().__init__(**fields)
        self._reranker = reranker or Reranker(self.model, **self.settings)

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex names it in its events."""
        return "GratingRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> list[NodeWithScore]:
        query, texts = self._asked(nodes, query_bundle)
        if not nodes:
            return []
        return self._kept(nodes, self._reranker.rerank(query, texts, self.top_n, mode="rank"))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> list[NodeWithScore]:
        query, texts = self._asked(nodes, query_bundle)
        if not nodes:
            return []
        return self._kept(nodes, await self._reranker.rerank_async(query, texts, self.top_n, mode="rank"))

    @staticmethod
    def _asked(nodes: list[NodeWithScore], query: Optional[QueryBundle]) -> tuple[str, list[str]]:
        if query is None:
            raise ValueError("Missing query bundle in extra info.")
        return query.query_str, [node.node.get_content(MetadataMode.EMBED) for node in nodes]

    def _kept(self, nodes: list[NodeWithScore], selection: Any) -> list[NodeWithScore]:
        kept = []
        for ranked in selection:
            node = nodes[ranked.index]
            if self.keep_retrieval_score:
                node.node.metadata["retrieval_score"] = node.score
            kept.append(NodeWithScore(node=node.node, score=ranked.score))
        return kept
