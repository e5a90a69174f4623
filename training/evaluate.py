"""Measures the default reranker and writes docs/default-model.md and docs/default-model.svg.

usage: evaluate.py MODEL_DIR TEACHER_DIR DATA_DIR --grating BINARY --out DIR [--measured FILE]
Ranks the given pools by first stage, by the bi-encoder teacher, by sentence-transformers' CrossEncoder and by the grating
CLI, and takes the score after every layer on the way. --measured keeps what was measured, set by set; sets that stand in
that file are not measured again. Large sets are sampled (every n-th query by file order): EVERY below.
"""
import argparse, json, os, subprocess, tempfile, time

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from lists import embed
from metrics import load, mrr, ndcg, order, overlap, precision, tau

EVERY = {"trec-dl19": 1, "cranfield": 4, "xquad-en": 16, "musique": 1, "locomo-a": 6}
HALF = {"musique"}                                          # the first half was trained on
WAYS = {"first": "first stage", "teacher": "bi-encoder teacher", "cross": "this model, CrossEncoder", "grating": "this model, `grating`"}


def layered(cross, pairs):
    """CrossEncoder's scores of the pairs, and [layers, pairs] of pooler and classifier after each layer."""
    model, taken = cross.model, [[] for _ in cross.model.bert.encoder.layer]
    def keep(into):
        return lambda module, inputs, output: into.append((output[0] if isinstance(output, tuple) else output)[:, 0])
    hooks = [layer.register_forward_hook(keep(into)) for layer, into in zip(model.bert.encoder.layer, taken)]
    scores = cross.predict(pairs, batch_size=16, show_progress_bar=False)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        logits = [model.classifier(torch.tanh(model.bert.pooler.dense(torch.cat(t)))).squeeze(1).numpy() for t in taken]
    # predict goes by length; equal final scores tell which row is which.
    out = np.zeros((len(taken), len(pairs)), np.float32)
    out[:, order(scores)] = np.stack(logits)[:, order(logits[-1])]
    assert np.abs(out[-1] - scores).max() < 1e-4
    return scores, out


def by_grating(binary, model, query, texts):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(text=t), ensure_ascii=False) + "\n" for t in texts)
        file.flush()
        done = subprocess.run([binary, "rerank", "-m", model, "-q", query, "-k", str(len(texts)), "--json", file.name],
                              capture_output=True, check=True)
    scores = np.zeros(len(texts))
    for result in json.loads(done.stdout)["results"]:
        scores[result["index"]] = result["raw_score"]
    return scores


def measure(name, args, cross):
    data, started = load(f"{args.data}/{name}", name in HALF), time.time()
    whole = [[f(data.pools[q], data.grades[q]) for f in (ndcg, mrr, precision)] for q in data.queries]
    total, queries = len(data.queries), data.queries[:: EVERY[name]]
    ids = sorted({d for q in data.queries for d in data.pools[q]})
    place = {d: i for i, d in enumerate(ids)}
    P, Q = embed(args.teacher, [data.corpus[d] for d in ids], 512), embed(args.teacher, [data.texts[q] for q in data.queries], 512)
    teacher = {q: P[[place[d] for d in data.pools[q]]] @ Q[i] for i, q in enumerate(data.queries)}
    rank = lambda q, s: [data.pools[q][i] for i in order(s)]
    measures = lambda ranked, q: [f(ranked, data.grades[q]) for f in (ndcg, mrr, precision)]
    rows, layers, apart, same = {way: [] for way in WAYS}, [], 0.0, 0
    for q in queries:
        texts = [data.corpus[d] for d in data.pools[q]]
        scores, each = layered(cross, [(data.texts[q], t) for t in texts])
        ours = by_grating(args.grating, args.model, data.texts[q], texts)
        apart, same = max(apart, float(np.abs(scores - ours).max())), same + (rank(q, scores)[:10] == rank(q, ours)[:10])
        ranked = dict(first=data.pools[q], teacher=rank(q, teacher[q]), cross=rank(q, scores), grating=rank(q, ours))
        for way in WAYS:
            rows[way].append(measures(ranked[way], q))
        layers.append([[overlap(s, scores), tau(s, scores), ndcg(rank(q, s), data.grades[q])] for s in each])
    mean = lambda r: np.mean(r, 0).tolist()
    return dict(queries=len(queries), of=total, whole=dict(first=mean(whole), teacher=mean([measures(rank(q, teacher[q]), q) for q in data.queries])),
                ways={way: mean(r) for way, r in rows.items()}, layers=mean(layers), apart=apart, same_top=same,
                seconds=time.time() - started)


def table(head, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |\n"
    return line(head) + line(["---"] * len(head)) + "".join(line(r) for r in rows)


def plot(found, path):
    """Two panels: overlap@10 and Kendall's tau by layer, a line for each set."""
    colours = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e5bb5", "#c98a00"]
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" font-family="sans-serif" font-size="12">',
           '<rect width="760" height="330" fill="white"/>']
    for panel, title in enumerate(("overlap@10 with the final ranking", "Kendall tau with the final scores")):
        left, top, width, height = 50 + 370 * panel, 40, 300, 220
        low = min(0.0, min(m["layers"][0][panel] for m in found.values()))
        low = -0.1 * np.ceil(-low / 0.1) if low < 0 else 0.0
        y = lambda v: top + height * (1 - (v - low) / (1 - low))
        out.append(f'<text x="{left + width / 2}" y="24" text-anchor="middle" font-weight="bold">{title}</text>')
        for v in np.arange(np.ceil(low / 0.2) * 0.2, 1.01, 0.2):
            out.append(f'<line x1="{left}" x2="{left + width}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>'
                       f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{abs(v):.1f}</text>')
        count = len(next(iter(found.values()))["layers"])
        x = lambda i: left + width * i / (count - 1)
        for i in range(count):
            out.append(f'<text x="{x(i):.1f}" y="{top + height + 18}" text-anchor="middle">{i + 1}</text>')
        out.append(f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">layers computed</text>')
        for colour, m in zip(colours, found.values()):
            points = " ".join(f"{x(i):.1f},{y(l[panel]):.1f}" for i, l in enumerate(m["layers"]))
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for i, (colour, name) in enumerate(zip(colours, found)):
        out.append(f'<line x1="{70 + 130 * i}" x2="{90 + 130 * i}" y1="316" y2="316" stroke="{colour}" stroke-width="3"/>'
                   f'<text x="{95 + 130 * i}" y="320">{name}</text>')
    open(path, "w").write("\n".join(out + ["</svg>"]) + "\n")


def report(found, path):
    three = lambda values: " / ".join(f"{v:.3f}" for v in values)
    names = list(found)
    mean = lambda way: np.mean([found[n]["ways"][way] for n in names], 0)
    text = ["# The default model, measured\n",
            "Written by `training/evaluate.py`. What the model is and how it was trained stands in its "
            "[card](../models/default/README.md); how to train it again in [training/](../training/README.md).\n",
            "## Ranking\n", "nDCG@10 / MRR@10 / P@5 over the given candidate pools, at most 512 tokens. trec-dl19's nDCG uses all "
            "official judgments, also those of passages outside the pools. musique is the half that was not trained on; none of "
            "the other sets was trained on. All rows of a column are over the same queries.\n",
            table(["ranking"] + [f"{n} ({found[n]['queries']} of {found[n]['of']} queries)" for n in names] + ["mean"],
                  [[label] + [three(found[n]["ways"][way]) for n in names] + [three(mean(way))] for way, label in WAYS.items()]),
            "Over all queries of each set (the columns above take every n-th query of the larger sets by file order):\n",
            table(["ranking"] + [f"{n} ({found[n]['of']})" for n in names],
                  [[WAYS[way]] + [three(found[n]["whole"][way]) for n in names] for way in ("first", "teacher")]),
            "`grating` and sentence-transformers' CrossEncoder on the same files, largest difference of a score and queries with the "
            "same ten in the same order:\n",
            table(["set", "largest difference", "same top ten"],
                  [[n, f"{found[n]['apart']:.1e}", f"{found[n]['same_top']} of {found[n]['queries']}"] for n in names]),
            "## What each layer already knows\n",
            "The head (pooler and classifier) on the first token after each layer, against the score after the last layer; means over "
            "the queries above.\n", "![overlap and tau by layer](default-model.svg)\n"]
    count = len(found[names[0]]["layers"])
    for column, title in ((0, "overlap@10 with the final ranking"), (1, "Kendall tau with the final scores"), (2, "nDCG@10 of the ranking after that layer")):
        text += [table([title] + [f"layer {i + 1}" for i in range(count)],
                       [[n] + [f"{l[column]:.2f}" for l in found[n]["layers"]] for n in names]
                       + [["mean"] + [f"{np.mean([found[n]['layers'][i][column] for n in names]):.2f}" for i in range(count)]])]
    open(path, "w").write("\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "teacher", "data"):
        parser.add_argument(name)
    parser.add_argument("--grating", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--measured", default="measured.json")
    args = parser.parse_args()
    found = json.load(open(args.measured)) if os.path.exists(args.measured) else {}
    cross = CrossEncoder(args.model, max_length=512, device="cpu", model_kwargs=dict(dtype=torch.float32))
    for name in EVERY:
        if name not in found:
            found[name] = measure(name, args, cross)
            json.dump(found, open(args.measured, "w"), indent=1)
            print(name, json.dumps(found[name]), flush=True)
    found = {name: found[name] for name in EVERY}
    plot(found, os.path.join(args.out, "default-model.svg"))
    report(found, os.path.join(args.out, "default-model.md"))


main()
