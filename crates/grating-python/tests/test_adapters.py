"""The adapters in their frameworks: a small pipeline in each."""

from __future__ import annotations

import asyncio
from typing import Any

import grating
import pytest
from conftest import QUERY, TEXTS


def test_langchain(reranker: grating.Reranker) -> None:
    pytest.importorskip("langchain_core")
    from grating.langchain import GratingCrossEncoder, GratingRerank
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableLambda

    class Everything(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return [Document(text, metadata={"source": i}) for i, text in enumerate(TEXTS)]

    compressor = GratingRerank(top_n=2, reranker=reranker)
    chain = RunnableLambda(
        lambda query: compressor.compress_documents(Everything().invoke(query), query)
    )
    kept = chain.invoke(QUERY)
    assert [document.metadata["source"] for document in kept] == [1, 2]
    assert kept[0].metadata["relevance_score"] == reranker.rerank(QUERY, TEXTS)[0].score
    again = asyncio.run(compressor.acompress_documents(Everything().invoke(QUERY), QUERY))
    assert again == kept
    assert compressor.compress_documents([], QUERY) == []
    assert GratingRerank(settings={"max_length": 64}).top_n == 3
    pairs = [(QUERY, text) for text in TEXTS]
    assert GratingCrossEncoder().score(pairs) == reranker.score(pairs)


def test_llamaindex(reranker: grating.Reranker) -> None:
    pytest.importorskip("llama_index.core")
    from grating.llamaindex import GratingRerank
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    postprocessor = GratingRerank(reranker=reranker, top_n=2, keep_retrieval_score=True)
    kept = postprocessor.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    assert [node.node.get_content() for node in kept] == [TEXTS[1], TEXTS[2]]
    assert kept[0].score == reranker.rerank(QUERY, TEXTS)[0].score
    assert kept[0].node.metadata["retrieval_score"] == 0.5
    assert postprocessor.postprocess_nodes([], query_str=QUERY) == []
    assert postprocessor.class_name() == "GratingRerank"


def test_haystack(reranker: grating.Reranker) -> None:
    pytest.importorskip("haystack")
    from grating.haystack import GratingRanker
    from haystack import Document, Pipeline

    pipeline = Pipeline()
    pipeline.add_component("ranker", GratingRanker(top_k=2, meta_fields_to_embed=["title"]))
    pipeline = Pipeline.loads(pipeline.dumps(), allowed_modules=["grating.haystack"])
    documents = [Document(content=text, meta={"title": ""}) for text in TEXTS]
    kept = pipeline.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert [document.content for document in kept] == [TEXTS[1], TEXTS[2]]
    assert kept[0].score == reranker.rerank(QUERY, TEXTS)[0].score
    assert GratingRanker().run(query=QUERY, documents=[]) == {"documents": []}


def test_rerankers(reranker: grating.Reranker) -> None:
    pytest.importorskip("rerankers")
    from grating.rerankers import GratingRanker

    ranker = GratingRanker()
    found = ranker.rank(QUERY, TEXTS, doc_ids=["a", "b", "c", "d"])
    assert [result.document.doc_id for result in found.top_k(2)] == ["b", "c"]
    assert ranker.score(QUERY, TEXTS[1]) == pytest.approx(found.results[0].score, abs=1e-5)
    assert asyncio.run(ranker.rank_async(QUERY, TEXTS)).top_k(1)[0].document.text == TEXTS[1]
