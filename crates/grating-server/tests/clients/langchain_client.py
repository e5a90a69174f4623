"""LangChain's client of Cohere against a running server."""

from langchain_cohere import CohereRerank
from langchain_core.documents import Document

from common import QUERY, TEXTS, base_url, check

reranker = CohereRerank(cohere_api_key="key", base_url=base_url, model="m", top_n=len(TEXTS))
found = reranker.rerank([Document(page_content=text) for text in TEXTS], QUERY)
check("langchain-cohere", ((r["index"], r["relevance_score"]) for r in found))
