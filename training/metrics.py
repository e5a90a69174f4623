"""BEIR-layout pools and the measures of a ranking: nDCG@10 (gain = grade, discount log2(rank + 1), as trec_eval; all
judgments count for the ideal order), MRR@10, P@5, overlap of two top tens, Kendall's tau-b."""
import json, math
from types import SimpleNamespace

import numpy as np


def load(folder, half=False):
    """Corpus texts, queries in file order that have a pool and judgments, grades. half: the second half only."""
    read = lambda name: [json.loads(l) for l in open(f"{folder}/{name}.jsonl", encoding="utf-8")]
    # As `grating` joins them.
    corpus = {d["_id"]: f"{d['title']} {d['text']}".strip() if d.get("title") else d["text"] for d in read("corpus")}
    texts = {q["_id"]: q["text"] for q in read("queries")}
    pools = {p["query"]: p["candidates"] for p in read("candidates")}
    grades = {}
    for line in open(f"{folder}/qrels/test.tsv").read().splitlines()[1:]:
        q, d, g = line.split("\t")[:3]
        grades.setdefault(q, {})[d] = int(g)
    queries = [q for q in texts if not (half and q in first_half(list(texts)))]
    queries = [q for q in queries if q in pools and q in grades]
    return SimpleNamespace(corpus=corpus, texts=texts, pools=pools, grades=grades, queries=queries)


def first_half(queries):
    """The queries that may be trained on."""
    return set(queries[: len(queries) // 2])


def ndcg(ranked, grades, k=10):
    gain = lambda gs: sum(g / math.log2(i + 2) for i, g in enumerate(gs[:k]))
    best = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(d, 0) for d in ranked]) / best if best else 0.0


def mrr(ranked, grades, k=10):
    return next((1 / (i + 1) for i, d in enumerate(ranked[:k]) if grades.get(d, 0) > 0), 0.0)


def precision(ranked, grades, k=5):
    return sum(grades.get(d, 0) > 0 for d in ranked[:k]) / k


def order(scores):
    """Places by falling score, ties in first-stage order."""
    return np.argsort(-np.asarray(scores), kind="stable")


def overlap(a, b, k=10):
    """Share of b's top k that is in a's."""
    k = min(k, len(b))
    return len(set(order(a)[:k]) & set(order(b)[:k])) / k


def tau(a, b):
    """Kendall's tau-b of two score lists."""
    x, y = (np.sign(np.subtract.outer(s, s)) for s in (np.asarray(a), np.asarray(b)))
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))
