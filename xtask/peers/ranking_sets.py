"""Ranking sets in BEIR layout with candidates.jsonl."""

import csv
import json


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def queries_of(folder, count):
    """Query, ids and texts of its pool, and grades by id, of so many judged queries, evenly spaced."""
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
