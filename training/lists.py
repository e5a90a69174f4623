"""Makes the training lists: a query with sixteen passages, near ones of both bi-encoders and of BM25 among them, each with the
two cosines, the BM25 score and a mark where it is known to be right.

usage: lists.py TEXTS.json MINILM_DIR E5_FILE OUT.npz [--queries N] [--device cuda|cpu]
"""
import argparse, json, re, time

import numpy as np
import torch

import teachers

SEED = 5
NEAR, LEXICAL = 200, 30                 # of the bi-encoders and of BM25, from which a list draws
SPREADS = (0.16, 0.035)                 # of the cosines within a pool: MiniLM's, e5's


class Bm25:
    """BM25 (k1 1.2, b 0.75, lower-cased words) as a share of the most that the query's terms can give, 0 to 1."""

    def __init__(self, texts, device):
        self.terms, self.device = {}, device
        counts, lengths = [], np.zeros(len(texts), np.float32)
        for number, text in enumerate(texts):
            words, seen = re.findall(r"\w+", text.lower()), {}
            for word in words:
                term = self.terms.setdefault(word, len(self.terms))
                seen[term] = seen.get(term, 0) + 1
            lengths[number] = len(words)
            counts.append(seen)
        row = np.repeat(np.arange(len(texts)), [len(seen) for seen in counts])
        column = np.fromiter((term for seen in counts for term in seen), np.int64)
        times = np.fromiter((n for seen in counts for n in seen.values()), np.float32)
        in_texts = np.bincount(column, minlength=len(self.terms))
        self.idf = np.log(1 + (len(texts) - in_texts + 0.5) / (in_texts + 0.5)).astype(np.float32)
        self.unseen = float(np.log(1 + (len(texts) + 0.5) / 0.5))
        weight = self.idf[column] * times / (times + 1.2 * (0.25 + 0.75 * lengths[row] / lengths.mean()))
        places = torch.from_numpy(np.stack([row, column]))
        weights = torch.sparse_coo_tensor(places, torch.from_numpy(weight), (len(texts), len(self.terms)))
        self.weights = weights.coalesce().to_sparse_csr().to(device)

    def scores(self, queries):
        """[queries, texts]"""
        rows, columns, most = [], [], torch.zeros(len(queries))
        for number, query in enumerate(queries):
            for word in re.findall(r"\w+", query.lower()):
                term = self.terms.get(word)
                most[number] += self.unseen if term is None else float(self.idf[term])
                if term is not None:
                    rows.append(term), columns.append(number)
        asked = torch.zeros(len(self.terms), len(queries), device=self.device)
        asked[rows, columns] = 1.0
        return (self.weights @ asked).T / most.clamp(min=1e-6).to(self.device)[:, None]


def some(sorted_ids, first, end, count):
    """[queries, count]: for each row so many of its columns first..end, drawn without replacement."""
    end = min(end, sorted_ids.shape[1])
    drawn = torch.rand(len(sorted_ids), end - first, device=sorted_ids.device).argsort(1)[:, :count] + first
    return sorted_ids.gather(1, drawn)


def draw(cosines, e5, lexical, right):
    """[queries, 16]: the right passage that the bi-encoders like most, and others from the nearest to any."""
    both = cosines / SPREADS[0] + e5 / SPREADS[1]
    near = both.topk(min(NEAR, both.shape[1]), 1).indices
    words = lexical.topk(min(LEXICAL, both.shape[1]), 1).indices
    best = [max(known, key=lambda passage: both[row, passage].item()) for row, known in enumerate(right)]
    best = torch.tensor(best, device=both.device)[:, None]
    others = torch.randint(both.shape[1], (len(right), 2), device=both.device)
    return torch.cat([best, some(near, 0, 8, 3), some(near, 8, 40, 4), some(words, 0, 10, 2), some(words, 10, LEXICAL, 1),
                      some(near, 40, NEAR, 3), others], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("texts", "minilm", "e5", "out"):
        parser.add_argument(name)
    parser.add_argument("--queries", type=int, default=174_080)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.manual_seed(SEED), np.random.seed(SEED)
    started = time.time()
    texts = json.load(open(args.texts, encoding="utf-8"))
    passages, queries, right = texts["passages"], texts["queries"], texts["right"]
    embedded = []
    for teacher in (teachers.minilm(args.minilm, args.device), teachers.multilingual_e5_small(args.e5, args.device)):
        embedded.append((teacher.queries(queries), teacher.passages(passages)))
        print(f"embedded after {time.time() - started:.0f} s", flush=True)
    bm25 = Bm25(passages, args.device)
    asked = np.random.permutation(len(queries))[: args.queries]
    chosen, scores = [], []
    for start in range(0, len(asked), 256):
        part = asked[start:start + 256]
        found = [q[torch.from_numpy(part).to(q.device)] @ p.T for q, p in embedded] + [bm25.scores([queries[i] for i in part])]
        drawn = draw(*found, [right[i] for i in part])
        known = torch.zeros_like(drawn, dtype=torch.float32)
        known[:, 0] = 1
        scores.append(torch.stack([s.gather(1, drawn) for s in found] + [known], 2).cpu().numpy())
        chosen.append(drawn.cpu().numpy().astype(np.int32))
    scores = np.concatenate(scores)
    np.savez(args.out, queries=asked.astype(np.int32), passages=np.concatenate(chosen), scores=scores)
    first = [(scores[:, 1:, kind].max(1) <= scores[:, 0, kind]).mean() for kind in range(3)]
    print(f"{len(asked)} lists; right one first by MiniLM {first[0]:.2f}, e5 {first[1]:.2f}, BM25 {first[2]:.2f}; "
          f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
