"""Ranks BEIR-layout pools with a cross-encoder after every layer, and measures the ranking.

usage: evaluate.py MODEL_DIR DATA_DIR... [--queries N] [--held-out] [--scores-out FILE]
nDCG@10 uses all judgments (gain = grade, discount log2(rank + 1)), as trec_eval. --held-out: the second half of the
queries by file order only (hotpotqa and musique, whose first halves are trained on).
"""
import argparse, json, math, os

import numpy as np
import torch
from transformers import AutoTokenizer, BertForSequenceClassification


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def ndcg(ranked, grades, k=10):
    gain = lambda gs: sum(g / math.log2(i + 2) for i, g in enumerate(gs[:k]))
    best = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(d, 0) for d in ranked]) / best if best else 0.0


def mrr(ranked, grades, k=10):
    return next((1 / (i + 1) for i, d in enumerate(ranked[:k]) if grades.get(d, 0) > 0), 0.0)


def precision(ranked, grades, k=5):
    return sum(grades.get(d, 0) > 0 for d in ranked[:k]) / k


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--queries", type=int)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--scores-out")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = BertForSequenceClassification.from_pretrained(args.model, num_labels=1, dtype=torch.float32).eval()
    out = open(args.scores_out, "w") if args.scores_out else None
    for folder in args.data:
        corpus = {d["_id"]: (d.get("title", "") + " " + d["text"]).strip() for d in read(f"{folder}/corpus.jsonl")}
        queries = read(f"{folder}/queries.jsonl")
        if args.held_out:
            queries = queries[len(queries) // 2:]
        texts = {q["_id"]: q["text"] for q in queries}
        qrels = {}
        for line in open(f"{folder}/qrels/test.tsv").read().splitlines()[1:]:
            q, d, g = line.split("\t")[:3]
            qrels.setdefault(q, {})[d] = int(g)
        rows, first, overlap = [], [], []
        pools = [p for p in read(f"{folder}/candidates.jsonl") if p["query"] in texts and p["query"] in qrels]
        for pool in pools[: args.queries]:
            q, ids = pool["query"], pool["candidates"]
            scores = np.zeros((model.config.num_hidden_layers, len(ids)), np.float32)
            order = sorted(range(len(ids)), key=lambda i: len(corpus[ids[i]]))
            for start in range(0, len(order), 20):
                part = order[start:start + 20]
                x = tokenizer([texts[q]] * len(part), [corpus[ids[i]] for i in part], padding=True, truncation="only_second",
                              max_length=512, return_token_type_ids=True, return_tensors="pt")
                with torch.no_grad():
                    states = model.bert(**x, output_hidden_states=True).hidden_states[1:]
                    for layer, h in enumerate(states):
                        s = model.classifier(torch.tanh(model.bert.pooler.dense(h[:, 0]))).squeeze(1)
                        scores[layer, part] = s.numpy()
            ranked = [ids[i] for i in np.argsort(-scores[-1], kind="stable")]
            grades = qrels[q]
            rows.append([f(ranked, grades) for f in (ndcg, mrr, precision)])
            first.append([f(ids, grades) for f in (ndcg, mrr, precision)])
            final = set(ranked[:10])
            overlap.append([len(final & {ids[i] for i in np.argsort(-s, kind="stable")[:10]}) / min(10, len(ids)) for s in scores])
            if out:
                for i, s in zip(ids, scores[-1]):
                    out.write(json.dumps(dict(query=q, candidate=i, score=float(s))) + "\n")
        line = lambda r: " ".join(f"{x:.3f}" for x in np.mean(r, 0))
        print(f"{os.path.basename(folder.rstrip('/'))}: {len(rows)} queries, nDCG@10 MRR@10 P@5 {line(rows)}; "
              f"first stage {line(first)}; overlap@10 with the final ranking by layer {line(overlap)}", flush=True)


main()
