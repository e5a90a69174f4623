"""Measures the default reranker and writes docs/default-model.md and docs/default-model.svg.

usage: evaluate.py MODEL_DIR MINILM_DIR E5_FILE DATA_DIR --before DIR --grating BINARY --out DIR [--work DIR] [--queries N] [--minutes M]
Ranks the given pools by first stage, by both bi-encoder teachers, by sentence-transformers' CrossEncoder (this model and the one
before it) and by the grating CLI, and takes the score after every layer on the way. With --quantized also by another folder
of the same model in fast precision. Everything measured is kept in --work, query by query, and not
measured again. trec-dl19 comes first; then the other sets take turns, a query each in an order drawn once, until all are
done or the minutes are over: the report says how many were measured.
"""
import argparse, json, os, random, subprocess, tempfile, time

import numpy as np
import torch
from sentence_transformers import CrossEncoder

import teachers
from metrics import load, mrr, ndcg, order, overlap, precision, tau

SEED = 20261121
SETS = ["trec-dl19", "cranfield", "xquad-en", "musique", "locomo-a"]
HALF = {"musique"}                                          # the first half was trained on
WAYS = {"first": "first stage", "minilm": "all-MiniLM-L6-v2, teacher", "e5": "multilingual-e5-small, teacher",
        "before": "the model before", "cross": "this model", "fast": "this model, Q8_0, fast precision"}
SCORED = ("minilm", "e5", "before", "cross", "cli", "fast")   # what is kept query by query


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


def by_grating(binary, model, query, texts, precision="exact"):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(text=t), ensure_ascii=False) + "\n" for t in texts)
        file.flush()
        done = subprocess.run([binary, "rerank", "-m", model, "-q", query, "-k", str(len(texts)),
                               "--no-prune", "--precision", precision, "--json", file.name],
                              capture_output=True, check=True)
    scores = np.zeros(len(texts))
    for result in json.loads(done.stdout)["results"]:
        scores[result["index"]] = result["raw_score"]
    return scores


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
        return self.rows[query]


def by_teacher(teacher, query, texts, seen):
    """Cosines; embeddings of texts that were met before are in seen."""
    new = [t for t in texts if t not in seen]
    if new:
        seen.update(zip(new, teacher.passages(new)))
    return (torch.stack([seen[t] for t in texts]) @ teacher.queries([query])[0]).tolist()


def score_queries(sets, args):
    """Fills the kept scores: the teachers', the model's before, [layers + 1][pool] with CrossEncoder.predict in the last row, and
    the CLI's for a third of the queries."""
    encoder = lambda folder: CrossEncoder(folder, max_length=512, device="cpu", model_kwargs=dict(dtype=torch.float32))
    cross, before = encoder(args.model), encoder(args.before)
    taught = dict(minilm=(teachers.minilm(args.minilm), {}), e5=(teachers.multilingual_e5_small(args.e5), {}))
    end = time.time() + 60 * args.minutes
    turns = [("trec-dl19", i, q) for i, q in enumerate(sets["trec-dl19"].drawn)]
    longest = max(len(d.drawn) for d in sets.values())
    turns += [(n, i, sets[n].drawn[i]) for i in range(longest) for n in SETS[1:] if i < len(sets[n].drawn)]
    for name, i, query in turns:
        if time.time() > end:
            break
        data = sets[name]
        asked, texts = data.texts[query], [data.corpus[d] for d in data.pools[query]]

        def by_cross():
            scores, each = layered(cross, [(asked, t) for t in texts])
            return np.vstack([each, scores]).astype(float).tolist()
        for way, (teacher, seen) in taught.items():
            data.kept[way].get(query, lambda: by_teacher(teacher, asked, texts, seen))
        predict = lambda: before.predict([(asked, t) for t in texts], batch_size=16, show_progress_bar=False).tolist()
        data.kept["before"].get(query, predict)
        if args.quantized:
            data.kept["fast"].get(query, lambda: by_grating(args.grating, args.quantized, asked, texts, "fast").tolist())
        if i % 3 == 0:
            data.kept["cli"].get(query, lambda: by_grating(args.grating, args.model, asked, texts).tolist())
        data.kept["cross"].get(query, by_cross)


def measure(data):
    queries = [q for q in data.queries if q in data.kept["cross"].rows]
    final = lambda way, q: data.kept[way].rows[q][-1] if way == "cross" else data.kept[way].rows[q]
    places = lambda way, q: range(len(data.pools[q])) if way == "first" else order(final(way, q))
    ranked = lambda way, q: [data.pools[q][i] for i in places(way, q)]
    measures = lambda ranked, q: [f(ranked, data.grades[q]) for f in (ndcg, mrr, precision)]
    mean = lambda rows: np.mean(rows, 0).tolist()
    over = lambda way, some: mean([measures(ranked(way, q), q) for q in some])
    top = lambda way, q: set(ranked(way, q)[:10])
    agreement = lambda way: float(np.mean([len(top(way, q) & top("cross", q)) / min(10, len(data.pools[q])) for q in queries]))
    ways = [way for way in WAYS if way == "first" or all(q in data.kept[way].rows for q in queries)]
    both = [q for q in queries if q in data.kept["cli"].rows]
    each = lambda q: data.kept["cross"].rows[q]
    after = lambda q, s: ndcg([data.pools[q][i] for i in order(s)], data.grades[q])
    layers = [[[overlap(s, each(q)[-1]), tau(s, each(q)[-1]), after(q, s)] for s in each(q)[:-1]] for q in queries]
    return dict(queries=len(queries), of=len(data.queries), both=len(both), ways={way: over(way, queries) for way in ways},
                agreement={way: agreement(way) for way in ways}, pair={way: over(way, both) for way in ("cross", "cli")},
                layers=mean(layers),
                apart=max(float(np.abs(np.subtract(each(q)[-1], data.kept["cli"].rows[q])).max()) for q in both),
                same_top=sum(ranked("cross", q)[:10] == ranked("cli", q)[:10] for q in both))


def table(head, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |\n"
    return line(head) + line(["---"] * len(head)) + "".join(line(r) for r in rows)


def plot(found, path):
    """Two panels: agreement@10 and Kendall's tau by layer, a line for each set."""
    colours = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e5bb5", "#c98a00"]
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" font-family="sans-serif" font-size="12">',
           '<rect width="760" height="330" fill="white"/>']
    for panel, title in enumerate(("agreement@10 with the final ranking", "Kendall tau with the final scores")):
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
    ways = [way for way in WAYS if all(way in found[n]["ways"] for n in names)]
    some = lambda n: f"{n} ({found[n]['queries']} of {found[n]['of']} queries)"
    text = ["# The default model, measured\n",
            "Written by `training/evaluate.py`. What the model is and how it was trained stands in its "
            "[card](../models/default/README.md); how to train it again in [training/](../training/README.md).\n",
            "## Ranking\n", "nDCG@10 / MRR@10 / P@5 over the given candidate pools, at most 512 tokens (the teachers 226 and 256, as "
            "they taught). trec-dl19's nDCG uses all official judgments, also those of passages outside the pools. musique is the half "
            "that was not trained on; none of the other sets was trained on. Where not all queries of a set were measured they are "
            "drawn at random; all rows of a column are over the same queries.\n",
            table(["ranking"] + [some(n) for n in names] + ["mean"],
                  [[WAYS[way]] + [three(found[n]["ways"][way]) for n in names] + [three(mean(way))] for way in ways]),
            "Share of this model's ten best that another ranking has among its own:\n",
            table(["ranking"] + names + ["mean"],
                  [[WAYS[way]] + [f"{found[n]['agreement'][way]:.2f}" for n in names]
                   + [f"{np.mean([found[n]['agreement'][way] for n in names]):.2f}"] for way in ways if way != "cross"]),
            "## The same model by two programs\n", "sentence-transformers' CrossEncoder and `grating rerank` on the same files, "
            "raw scores:\n",
            table(["set", "queries", "by CrossEncoder", "by `grating`", "largest difference of a score", "same top ten, same order"],
                  [[n, str(found[n]["both"]), three(found[n]["pair"]["cross"]), three(found[n]["pair"]["cli"]),
                    f"{found[n]['apart']:.1e}", f"{found[n]['same_top']} of {found[n]['both']}"] for n in names]),
            "## What each layer already knows\n",
            "The head (pooler and classifier) on the first token after each layer, against the score after the last layer; means over "
            "the queries of the first table.\n", "![overlap and tau by layer](default-model.svg)\n"]
    count = len(found[names[0]]["layers"])
    for column, title in ((0, "agreement@10 with the final ranking"), (1, "Kendall tau with the final scores"), (2, "nDCG@10 of the ranking after that layer")):
        text += [table([title] + [f"layer {i + 1}" for i in range(count)],
                       [[n] + [f"{l[column]:.2f}" for l in found[n]["layers"]] for n in names]
                       + [["mean"] + [f"{np.mean([found[n]['layers'][i][column] for n in names]):.2f}" for i in range(count)]])]
    open(path, "w").write("\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "minilm", "e5", "data"):
        parser.add_argument(name)
    parser.add_argument("--before", required=True)
    parser.add_argument("--quantized")
    parser.add_argument("--grating", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--work", default="measured")
    parser.add_argument("--queries", type=int, help="of each set at most")
    parser.add_argument("--minutes", type=float, default=1e6)
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    sets = {}
    for name in SETS:
        data = sets[name] = load(f"{args.data}/{name}", name in HALF)
        data.drawn = random.Random(SEED).sample(data.queries, len(data.queries))
        if name != "trec-dl19":
            data.drawn = data.drawn[:args.queries]
        data.kept = {kind: Kept(f"{args.work}/{kind}-{name}.jsonl") for kind in SCORED}
    if args.minutes > 0:
        score_queries(sets, args)
    found = {name: measure(data) for name, data in sets.items()}
    print(json.dumps(found, indent=1))
    plot(found, os.path.join(args.out, "default-model.svg"))
    report(found, os.path.join(args.out, "default-model.md"))


if __name__ == "__main__":
    main()
