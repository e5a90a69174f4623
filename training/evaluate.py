"""Measures the default reranker and writes docs/measurements/default-model.md and docs/measurements/default-model.svg.

usage: evaluate.py MODEL_DIR DATA_DIR --traces DIR --before DIR --out DIR [--fast DIR] [--minilm DIR --e5 FILE] [--pairs N] [--work DIR]
Scores after every layer are those that the command line has recorded, a file SET.jsonl for each set in each folder of traces:
    grating calibrate -m MODEL_DIR --data DATA_DIR/SET -k 10 --target-agreement 0.9 --queries 160 --readout head --traces DIR/SET.jsonl --out /dev/null
--before has those of the model before, --fast those of another form of this one in fast precision. What all of them have is measured, beside
the pool's own order, BM25 and, where they are given, the bi-encoders that taught it; and sentence-transformers' CrossEncoder on a few
queries of each set. Scores of the last three are kept in --work, so a run that was stopped goes on; where the bi-encoders are not given,
those that are kept are taken. Of musique and hotpotqa the second half is measured, and traces of that half are enough.
"""
import argparse, hashlib, json, os, struct, subprocess, tempfile
from datetime import datetime, timezone

import numpy as np
import torch
from sentence_transformers import CrossEncoder

import teachers
from lists import Bm25
from metrics import load, mrr, ndcg, order, overlap, precision, tau

SETS = ["trec-dl19", "cranfield", "xquad-en", "musique", "hotpotqa", "locomo-a"]
HALF = {"musique", "hotpotqa"}                              # the first half was trained on
AGREEMENT = "agreement@10 with the final ranking"
WAYS = {"first": "order of the pool", "bm25": "BM25", "minilm": "all-MiniLM-L6-v2, teacher", "e5": "multilingual-e5-small, teacher",
        "before": "version 1", "this": "this model", "fast": "this model as Q8_0 in fast precision"}


def key(query, texts):
    """What the command line files a trace under; of equal texts the first counts."""
    hashed = hashlib.sha256()
    for text in [query, *texts]:
        encoded = text.encode()
        hashed.update(struct.pack("<Q", len(encoded)) + encoded)
    return hashed.hexdigest()


def recorded(path, data):
    """[layers, pool] scores of the queries that have a trace."""
    lines = open(path, encoding="utf-8").read().splitlines()[1:]
    traces = {line["key"]: line["trace"] for line in map(json.loads, lines)}
    found = {}
    for query in data.queries:
        texts = [data.corpus[d] for d in data.pools[query]]
        trace = traces.get(key(data.texts[query], list(dict.fromkeys(texts))))
        if trace is not None:
            scores = np.array(trace["scores"]).reshape(trace["layers"], -1)
            places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
            found[query] = scores[:, [places[text] for text in texts]]
    return found


class Kept:
    """Results by query in a file of JSON lines."""

    def __init__(self, path):
        self.path = path
        self.rows = dict(json.loads(l) for l in open(path)) if os.path.exists(path) else {}

    def get(self, query, compute):
        if query not in self.rows:
            self.rows[query] = compute()
            with open(self.path, "a") as out:
                out.write(json.dumps([query, self.rows[query]]) + "\n")
        return np.array(self.rows[query])


def by_teacher(teacher, data, queries, kept):
    """Cosines of each query with its pool, those that are kept of all queries or none; every text is embedded once."""
    if teacher and not all(q in kept.rows for q in queries):
        ids = sorted({d for q in queries for d in data.pools[q]})
        place, embedded = {d: i for i, d in enumerate(ids)}, teacher.passages([data.corpus[d] for d in ids])
        asked = teacher.queries([data.texts[q] for q in queries])
        for q, row in zip(queries, asked):
            kept.get(q, lambda: (embedded[[place[d] for d in data.pools[q]]] @ row).tolist())
    return {q: kept.rows[q] for q in queries if q in kept.rows}


def by_bm25(data, queries):
    """BM25 of each query with its pool; how rare a word is is counted in all of the set's texts."""
    ids = list(data.corpus)
    place, bm25 = {d: i for i, d in enumerate(ids)}, Bm25([data.corpus[d] for d in ids], "cpu")
    found = bm25.scores([data.texts[q] for q in queries]).numpy()
    return {q: row[[place[d] for d in data.pools[q]]].tolist() for q, row in zip(queries, found)}


def compare(cross, data, queries, kept):
    """Scores by CrossEncoder."""
    pairs = lambda query: [(data.texts[query], data.corpus[d]) for d in data.pools[query]]
    predict = lambda query: cross.predict(pairs(query), batch_size=16, show_progress_bar=False).astype(float).tolist()
    return {query: kept.get(query, lambda: predict(query)) for query in queries}


def measure(data, scores, layers, cross):
    """scores: by way and query, [pool]; layers: this model's, [layers, pool]; cross: of some queries, [pool]."""
    queries = [q for q in data.queries if all(q in of for of in scores.values())]
    places = lambda way, q: range(len(data.pools[q])) if way == "first" else order(scores[way][q])
    ranked = lambda way, q: [data.pools[q][i] for i in places(way, q)]
    measures = lambda ranked, q: [f(ranked, data.grades[q]) for f in (ndcg, mrr, precision)]
    mean = lambda rows: np.mean(rows, 0).tolist()
    top = lambda way, q: set(ranked(way, q)[:10])
    agreement = lambda way: float(np.mean([len(top(way, q) & top("this", q)) / min(10, len(data.pools[q])) for q in queries]))
    # In a pool of ten all of it is among the ten best.
    choice = any(len(data.pools[q]) > 10 for q in queries)
    ways = [way for way in WAYS if way == "first" or way in scores]
    after = lambda q, s: ndcg([data.pools[q][i] for i in order(s)], data.grades[q])
    each = [[[overlap(s, layers[q][-1]), tau(s, layers[q][-1]), after(q, s)] for s in layers[q]] for q in queries]
    return dict(queries=len(queries), of=len(data.queries), ways={way: mean([measures(ranked(way, q), q) for q in queries]) for way in ways},
                agreement={way: agreement(way) for way in ways if choice}, choice=choice, layers=mean(each), both=len(cross),
                apart=max((float(np.abs(s - layers[q][-1]).max()) for q, s in cross.items()), default=0.0),
                same_top=sum(list(order(s)[:10]) == list(order(layers[q][-1])[:10]) for q, s in cross.items()))


def table(head, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |\n"
    return line(head) + line(["---"] * len(head)) + "".join(line(r) for r in rows)


def plot(found, path):
    """Two panels: agreement@10 and Kendall's tau by layer, a line for each set."""
    layers = range(1, 1 + len(next(iter(found.values()))["layers"]))
    panels = [{"x": {"label": "layers computed"}, "y": {"label": label, "from_zero": True},
               "series": [{"name": name, "points": [[layer, measured["layers"][layer - 1][column]] for layer in layers]}
                          for name, measured in found.items() if measured["choice"] or label != AGREEMENT]}
              for column, label in enumerate((AGREEMENT, "Kendall tau with the final scores"))]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"title": "The default model, layer by layer", "panels": panels}, file)
        file.flush()
        subprocess.run(["cargo", "xtask", "chart", file.name, os.path.abspath(path)], check=True, cwd=os.path.dirname(os.path.abspath(__file__)))


def report(found, path):
    three = lambda values: " / ".join(f"{v:.3f}" for v in values)
    names = list(found)
    ways = [way for way in WAYS if any(way in found[n]["ways"] for n in names)]
    chosen = [n for n in names if found[n]["choice"]]
    everywhere = lambda way: all(way in found[n]["ways"] for n in names)
    # A teacher takes long: some sets may have been measured without.
    cell = lambda n, kind, way, form: form(found[n][kind][way]) if way in found[n][kind] else "–"
    mean = lambda names, kind, way, form: form(np.mean([found[n][kind][way] for n in names], 0)) if everywhere(way) else "–"
    two = lambda value: f"{value:.2f}"
    taught = " (the teachers 226 and 256, as they taught)" if "minilm" in ways else ""
    some = lambda n: f"{n} ({found[n]['queries']} of {found[n]['of']} queries)"
    text = ["# The default model, measured\n",
            f"Generated by `training/evaluate.py`, {datetime.now(timezone.utc):%Y-%m-%d}. What the model is and how it was trained stands in its "
            "[card](../../models/default/README.md); how to train it again in [training/](../../training/README.md).\n",
            "## Ranking\n", f"nDCG@10 / MRR@10 / P@5 over the given candidate pools, at most 512 tokens{taught}. trec-dl19's nDCG uses all official judgments, also those of passages outside the pools. The pools of cranfield, xquad-en, hotpotqa and locomo-a are in the order of BM25, those of trec-dl19 in that of "
            "BM25 over all of its source; in the row BM25 rare words are those of the set's own texts; pools of hotpotqa hold ten texts, so that all of a pool are its ten best. musique and hotpotqa are the halves "
            "that were not trained on; none of the other sets was trained on. Where not all queries of a set were measured they are "
            "the first by the SHA-256 of query and pool; all rows of a column are over the same queries.\n",
            table(["ranking"] + [some(n) for n in names] + ["mean"],
                  [[WAYS[way]] + [cell(n, "ways", way, three) for n in names] + [mean(names, "ways", way, three)] for way in ways]),
            "Share of this model's ten best that another ranking has among its own:\n",
            table(["ranking"] + chosen + ["mean"],
                  [[WAYS[way]] + [cell(n, "agreement", way, two) for n in chosen]
                   + [mean(chosen, "agreement", way, two)] for way in ways if way != "this"]),
            "## The same model by two programs\n", "sentence-transformers' CrossEncoder and `grating` on the same files, "
            "raw scores:\n",
            table(["set", "queries", "largest difference of a score", "same top ten, same order"],
                  [[n, str(found[n]["both"]), f"{found[n]['apart']:.1e}", f"{found[n]['same_top']} of {found[n]['both']}"] for n in names]),
            "## What each layer already knows\n",
            "The head (pooler and classifier) on the first token after each layer, against the score after the last layer; means over "
            "the queries of the first table.\n", "![overlap and tau by layer](default-model.svg)\n"]
    count = len(found[names[0]]["layers"])
    for column, title in ((0, AGREEMENT), (1, "Kendall tau with the final scores"), (2, "nDCG@10 of the ranking after that layer")):
        rows = chosen if title == AGREEMENT else names
        text += [table([title] + [f"layer {i + 1}" for i in range(count)],
                       [[n] + [f"{l[column]:.2f}" for l in found[n]["layers"]] for n in rows]
                       + [["mean"] + [f"{np.mean([found[n]['layers'][i][column] for n in rows]):.2f}" for i in range(count)]])]
    open(path, "w").write("\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "data"):
        parser.add_argument(name)
    for name in ("traces", "before", "out"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("fast", "minilm", "e5"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--pairs", type=int, default=3, help="queries of each set that CrossEncoder scores")
    parser.add_argument("--work", default="measured")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    cross = CrossEncoder(args.model, max_length=512, device="cpu", model_kwargs=dict(dtype=torch.float32))
    taught = dict(minilm=args.minilm and teachers.minilm(args.minilm), e5=args.e5 and teachers.multilingual_e5_small(args.e5))
    found = {}
    for name in SETS:
        data = load(f"{args.data}/{name}", name in HALF)
        layers = recorded(f"{args.traces}/{name}.jsonl", data)
        last = lambda folder: {q: each[-1] for q, each in recorded(f"{folder}/{name}.jsonl", data).items()}
        scores = dict(before=last(args.before), this={q: each[-1] for q, each in layers.items()})
        if args.fast:
            scores["fast"] = last(args.fast)
        queries = [q for q in data.queries if all(q in of for of in scores.values())]
        scores["bm25"] = by_bm25(data, queries)
        for way, teacher in taught.items():
            scores[way] = by_teacher(teacher, data, queries, Kept(f"{args.work}/{way}-{name}.jsonl"))
            if len(scores[way]) < len(queries):
                del scores[way]
        some = queries[:: max(1, len(queries) // args.pairs)][: args.pairs]
        found[name] = measure(data, scores, layers, compare(cross, data, some, Kept(f"{args.work}/cross-{name}.jsonl")))
        print(name, json.dumps(found[name]), flush=True)
    plot(found, os.path.join(args.out, "default-model.svg"))
    report(found, os.path.join(args.out, "default-model.md"))


if __name__ == "__main__":
    main()
