"""What `--precision fast` and quantized weights do to rankings: overlap@10 with exact, and nDCG@10.

usage: precision_effect.py GRATING QUERIES DATA... -- NAME=ARGS...
  GRATING   the binary
  QUERIES   queries of each data set, evenly spaced
  DATA      folders in BEIR layout with candidates.jsonl
  NAME=ARGS settings, the first of which the others are compared with, e.g.
            exact="--model DIR" fast="--model DIR --precision fast" q8_0="--model DIR-q8"
            and others' on the same model: openvino="peer openvino-int8 DIR" (see paired.py)
"""

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile

import paired
from ranking_sets import queries_of

K = 10
PEER = "peer "


def rank(binary, args, query, texts):
    command = [binary, "rerank", "--json", "--no-prune", "-k", str(K), "--format", "jsonl", *shlex.split(args), "-q", query]
    stdin = "\n".join(json.dumps({"text": text}) for text in texts)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)
    return [result["index"] for result in json.loads(done.stdout)["results"]]


def peer_ranks(args, queries):
    """The K best of each query by a peer's scores."""
    _, name, model = shlex.split(args)
    requests = [{"query": query, "texts": texts} for query, _, texts, _ in queries]
    job = {"model": model, "requests": requests, "max_length": 512, "threads": os.cpu_count(), "runs": 1, "enough_s": 1,
           "processor_time": False, "prepare": False}
    with tempfile.TemporaryDirectory() as scratch:
        answers, _ = paired.answers(name, job | {"scratch": scratch})
    best = lambda scores: sorted(range(len(scores)), key=lambda i: -scores[i])[:K]
    return [best(answer["scores"]) for answer in answers]


def ndcg(ranked, ids, grades):
    gain = lambda grades: sum(g / math.log2(rank + 2) for rank, g in enumerate(grades))
    best = gain(sorted(grades.values(), reverse=True)[:K])
    return gain([grades.get(ids[i], 0) for i in ranked]) / best if best else None


def main():
    split = sys.argv.index("--")
    binary, count, data = sys.argv[1], int(sys.argv[2]), sys.argv[3:split]
    settings = [arg.split("=", 1) for arg in sys.argv[split + 1 :]]
    print("| data | queries | weights, precision | overlap@10 | nDCG@10 | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for folder in data:
        queries = list(queries_of(folder, count))
        overlaps, scores, first = {}, {}, None
        for name, args in settings:
            if args.startswith(PEER):
                ranked = peer_ranks(args, queries)
            else:
                ranked = [rank(binary, args, query, texts) for query, _, texts, _ in queries]
            first = first or ranked
            overlaps[name] = [len(set(a) & set(b)) / len(b) for a, b in zip(ranked, first)]
            found = [ndcg(order, ids, grades) for order, (_, ids, _, grades) in zip(ranked, queries)]
            scores[name] = [score for score in found if score is not None]
        mean = lambda values: sum(values) / len(values)
        reference = mean(scores[settings[0][0]])
        for name, _ in settings:
            score = mean(scores[name])
            print(f"| {os.path.basename(folder.rstrip('/'))} | {len(queries)} | {name} | {mean(overlaps[name]):.4f} "
                  f"| {score:.4f} | {score - reference:+.4f} |", flush=True)


main()
