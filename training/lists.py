"""Embeds the mined texts with the teacher (all-MiniLM-L6-v2 as a bi-encoder) and makes the training lists: a query with
eight passages, hard negatives from the teacher and from BM25 among them, each with cosine, BM25 and a mark where known to
be right. Then weighs BM25 against the cosine in the target on a development set: the second half of hotpotqa's queries.

usage: lists.py MINED_DIR TEACHER_DIR --data DIR      (4 minutes alone on two cores)
"""
import argparse, functools, json, os, random, re, time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer

from metrics import first_half, load, ndcg

SEED = 20261121
LIST = 8
MOST_CHARS, LONG_SHARE = 380, 0.12      # longer passages cost most of the time: of these only a share is used
QUERIES = 15000                         # drawn from those whose passage is used


@functools.cache
def encoder(folder):
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def embed(folder, texts, max_tokens=192, batch=64):
    """[texts, 384] unit vectors."""
    tokenizer, model = encoder(folder)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), model.config.hidden_size), np.float32)

    def part(start):
        torch.set_num_threads(1)
        rows = order[start:start + batch]
        x = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.no_grad():
            h = model(**x).last_hidden_state
        mask = x["attention_mask"][..., None]
        out[rows] = F.normalize((h * mask).sum(1) / mask.sum(1), dim=1).numpy()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(part, range(0, len(order), batch)))
    return out


class Bm25:
    """BM25 (k1 1.2, b 0.75, lower-cased words) as a share of the most that the query's terms can give, 0 to 1."""

    def __init__(self, texts):
        self.terms = {}
        counts = []
        for text in texts:
            seen = {}
            for w in re.findall(r"\w+", text.lower()):
                i = self.terms.setdefault(w, len(self.terms))
                seen[i] = seen.get(i, 0) + 1
            counts.append(seen)
        length = np.array([sum(c.values()) for c in counts], np.float32)
        row = np.repeat(np.arange(len(texts)), [len(c) for c in counts])
        col = np.fromiter((t for c in counts for t in c), np.int64)
        tf = np.fromiter((n for c in counts for n in c.values()), np.float32)
        df = np.bincount(col, minlength=len(self.terms))
        self.idf = np.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
        self.unseen = np.log(1 + (len(texts) + 0.5) / 0.5)
        weight = self.idf[col] * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length[row] / length.mean())) / 2.2
        self.weights = sp.csr_matrix((weight, (row, col)), (len(texts), len(self.terms))).T.tocsr()

    def scores(self, queries):
        """[queries, texts]"""
        row, col, most = [], [], np.zeros(len(queries))
        for i, query in enumerate(queries):
            for w in re.findall(r"\w+", query.lower()):
                t = self.terms.get(w)
                most[i] += self.unseen if t is None else self.idf[t]
                if t is not None:
                    row.append(i), col.append(t)
        q = sp.csr_matrix((np.ones(len(row), np.float32), (row, col)), (len(queries), len(self.terms)))
        return (q @ self.weights).toarray().astype(np.float32) / np.maximum(most, 1e-6)[:, None]


def choose(right, cosines, lexical):
    """Eight passages: the right one that the teacher likes most, three near ones of its, two of BM25's, two others."""
    positive = max(right, key=lambda i: cosines[i])
    near = np.argpartition(-cosines, 200)[:200]
    near = near[np.argsort(-cosines[near])]
    words = np.argpartition(-lexical, 30)[:30]
    chosen = [positive]

    def add(pool, count):
        pool = [int(i) for i in pool if i not in chosen]
        chosen.extend(random.sample(pool, min(count, len(pool))))
    add(near[:8], 1), add(near[:30], 2), add(words[:12], 1), add(words, 1), add(near[30:], 1)
    add(random.sample(range(len(cosines)), 20), LIST - len(chosen))
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mined")
    parser.add_argument("teacher")
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    random.seed(SEED)
    read = lambda name: [json.loads(l) for l in open(f"{args.mined}/{name}.jsonl", encoding="utf-8")]
    passages, queries = read("passages"), read("queries")
    used = [len(p["text"]) <= MOST_CHARS or random.random() < LONG_SHARE for p in passages]
    number = np.cumsum(used) - 1
    for query in queries:
        query["right"] = [int(number[i]) for i in query["right"] if used[i]]
    real = [q for q in queries if q["right"] and q["source"].endswith("-question")]
    queries = real + random.sample([q for q in queries if q["right"] and not q["source"].endswith("-question")], QUERIES - len(real))
    passages = [p for p, u in zip(passages, used) if u]
    cache, started = f"{args.mined}/embeddings.npz", time.time()
    if not os.path.exists(cache):
        P, Q = (embed(args.teacher, [r["text"] for r in rows]) for rows in (passages, queries))
        np.savez(cache, passages=P, queries=Q)
        print(f"{len(P)} passages, {len(Q)} queries embedded in {time.time() - started:.0f} s", flush=True)
    P, Q = (np.load(cache)[k] for k in ("passages", "queries"))

    bm25 = Bm25([p["text"] for p in passages])
    chosen, cosine, lexical, known = [], [], [], []
    for start in range(0, len(queries), 256):
        part = queries[start:start + 256]
        cosines, words = Q[start:start + 256] @ P.T, bm25.scores([q["text"] for q in part])
        for row, query in enumerate(part):
            c = choose(query["right"], cosines[row], words[row])
            chosen.append(c), cosine.append(cosines[row, c]), lexical.append(words[row, c])
            known.append([i in query["right"] for i in c])
    with open(f"{args.mined}/lists.json", "w", encoding="utf-8") as out:
        json.dump(dict(passages=[p["text"] for p in passages], queries=[q["text"] for q in queries]), out, ensure_ascii=False)
    np.savez(f"{args.mined}/lists.npz", passages=np.array(chosen, np.int32), cosine=np.array(cosine), bm25=np.array(lexical),
             right=np.array(known))
    print(f"{len(chosen)} lists; right one first by cosine {np.mean(np.argmax(cosine, 1) == 0):.2f}, "
          f"by BM25 {np.mean(np.argmax(lexical, 1) == 0):.2f}; {time.time() - started:.0f} s", flush=True)

    dev = load(f"{args.data}/hotpotqa")
    dev.queries = [q for q in dev.queries if q not in first_half(dev.queries)]
    ids = sorted({d for q in dev.queries for d in dev.pools[q]})
    place = {d: i for i, d in enumerate(ids)}
    cosines = embed(args.teacher, [dev.texts[q] for q in dev.queries]) @ embed(args.teacher, [dev.corpus[d] for d in ids]).T
    words = Bm25([dev.corpus[d] for d in ids]).scores([dev.texts[q] for q in dev.queries])
    for weight in (0, 0.1, 0.2, 0.3, 0.5, 0.8, 1000):
        score = cosines + weight * words
        ranked = {q: sorted(dev.pools[q], key=lambda d: -score[i, place[d]]) for i, q in enumerate(dev.queries)}
        print(f"dev: cosine + {weight} BM25: nDCG@10 {np.mean([ndcg(ranked[q], dev.grades[q]) for q in dev.queries]):.3f}")


if __name__ == "__main__":
    main()
