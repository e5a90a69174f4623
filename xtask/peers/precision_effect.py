"""What `--precision fast` and quantized weights do to rankings: overlap@10 with exact, and nDCG@10.

usage: precision_effect.py GRATING QUERIES DATA... -- NAME=ARGS...
  GRATING   the binary
  QUERIES   queries of each data set, evenly spaced
  DATA      folders in BEIR layout with candidates.jsonl
  NAME=ARGS settings, the first of which the others are compared with, e.g.
            exact="--model DIR" fast="--model DIR --precision fast" q8_0="--model DIR-q8"
"""

import csv
import json
import math
import os
import shlex
import subprocess
import sys

K = 10


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def queries_of(folder, count):
    corpus = {d["_id"]: f"{d.get('title', '')} {d['text']}".strip() for d in lines(f"{folder}/corpus.jsonl")}
    texts = {q["_id"]: q["text"] for q in lines(f"{folder}/queries.jsonl")}
    grades = {}
    with open(f"{folder}/qrels/test.tsv", encoding="utf-8") as file:
        for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            grades.setdefault(query, {})[document] = int(grade)
    pools = [p for p in lines(f"{folder}/candidates.jsonl") if p["query"] in grades]
    chosen = [pools[i * len(pools) // min(count, len(pools))] for i in range(min(count, len(pools)))]
    for pool in chosen:
        ids = [i for i in pool["candidates"] if i in corpus]
        yield texts[pool["query"]], ids, [corpus[i] for i in ids], grades[pool["query"]]


def rank(binary, args, query, texts):
    command = [binary, "rerank", "--json", "--no-prune", "-k", str(K), "--format", "jsonl", *shlex.split(args), "-q", query]
    stdin = "\n".join(json.dumps({"text": text}) for text in texts)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)
    return [result["index"] for result in json.loads(done.stdout)["results"]]


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
        overlaps, scores, queries = {}, {}, 0
        for query, ids, texts, grades in queries_of(folder, count):
            ranked = {name: rank(binary, args, query, texts) for name, args in settings}
            queries += 1
            first = ranked[settings[0][0]]
            for name, order in ranked.items():
                overlaps.setdefault(name, []).append(len(set(order) & set(first)) / len(first))
                score = ndcg(order, ids, grades)
                if score is not None:
                    scores.setdefault(name, []).append(score)
        mean = lambda values: sum(values) / len(values)
        reference = mean(scores[settings[0][0]])
        for name, _ in settings:
            score = mean(scores[name])
            print(f"| {os.path.basename(folder.rstrip('/'))} | {queries} | {name} | {mean(overlaps[name]):.4f} "
                  f"| {score:.4f} | {score - reference:+.4f} |", flush=True)


main()
