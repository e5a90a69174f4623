"""Clients of Cohere, TEI, Jina and LiteLLM against a running server: order and scores are those of the command line."""

import json
import os
import urllib.error
import urllib.request

# Or it waits for a list of prices from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_TELEMETRY"] = "False"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from common import QUERY, TEXTS, base_url, check


def cohere_clients():
    import cohere

    v2 = cohere.ClientV2("key", base_url=base_url)
    results = v2.rerank(model="m", query=QUERY, documents=TEXTS, top_n=3).results
    check("cohere v2", ((r.index, r.relevance_score) for r in results), 3)
    v1 = cohere.Client("key", base_url=base_url)
    results = v1.rerank(model="m", query=QUERY, documents=TEXTS, return_documents=True).results
    check("cohere v1", ((r.index, r.relevance_score) for r in results))
    assert [r.document.text for r in results] == [TEXTS[r.index] for r in results]
    try:
        v2.rerank(model="m", query="", documents=TEXTS)
    except cohere.errors.unprocessable_entity_error.UnprocessableEntityError as error:
        assert error.body["message"] == "query: must not be empty", error.body
    else:
        raise AssertionError("cohere: an empty query was answered")


def llama_index_tei():
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.0) for i, text in enumerate(TEXTS)]
    reranker = TextEmbeddingInference(base_url=base_url, top_n=len(TEXTS))
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    check("llama-index tei-rerank", ((int(n.node.node_id), n.score) for n in found))


def haystack_jina():
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    ranker = JinaRanker(model="m", api_key=Secret.from_token("key"), top_k=len(TEXTS), base_url=f"{base_url}/v1/rerank")
    found = ranker.run(query=QUERY, documents=[Document(id=str(i), content=text) for i, text in enumerate(TEXTS)])
    check("jina-haystack", ((int(d.id), d.score) for d in found["documents"]))


def litellm_providers():
    import litellm

    for provider, url in [
        ("cohere", base_url),
        ("hosted_vllm", base_url),
        ("jina_ai", f"{base_url}/v1/rerank"),
        ("huggingface", base_url),
        ("voyage", f"{base_url}/v1/rerank"),
    ]:
        answer = litellm.rerank(
            model=f"{provider}/m", query=QUERY, documents=TEXTS, top_n=2, api_base=url, api_key="key"
        )
        check(f"litellm {provider}", ((r["index"], r["relevance_score"]) for r in answer.results), 2)


def metrics():
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(f"{base_url}/metrics") as answer:
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    ranked = families["grating_rerank_requests"].samples[0].value
    assert families["grating_rerank_duration_seconds"].type == "histogram" and ranked >= 8, families
    print(f"prometheus-client: {len(families)} families")


def errors_are_read():
    request = urllib.request.Request(f"{base_url}/rerank", b'{"query":"q","texts":[]}', {"content-type": "application/json"})
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        assert error.code == 400 and json.load(error)["error_type"] == "Empty"


cohere_clients()
llama_index_tei()
haystack_jina()
litellm_providers()
metrics()
errors_are_read()
