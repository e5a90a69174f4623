#!/usr/bin/env python3
"""Sets of long texts: paragraphs of ranking sets, put together so that the right one stands at every place of a text.

    python xtask/long_texts/build.py --data DIR --set xquad-en --set musique --tokens 1024 --tokens 4096 --out DIR

Reads sets in BEIR layout with pools (corpus.jsonl, queries.jsonl, candidates.jsonl, qrels/test.tsv: what `grating calibrate`
and `cargo xtask bench` read) and writes sets of the same layout, one for each set and length: OUT/SET-TOKENS.

A query's pool becomes as many long texts. Each holds one paragraph of the pool, the relevant ones first and then the
others in the order of the first stage; around it stand paragraphs of other queries, none of the pool, so that a text is
relevant where its own paragraph is. That stands at the beginning, after a quarter, in the middle, after three quarters or
at the end: the relevant texts go through the places in turn from query to query, the others likewise. The order of a pool
is arbitrary. Lengths are in tokens as they are usual for English, three to four words: exact ones would be one model's own.

Nothing is random that a seed does not decide, and no version of Python or of a library has a part in it.
"""

import argparse
import hashlib
import json
from pathlib import Path

# Of English prose, in the vocabularies of BERT and of byte-level BPE alike.
WORDS_PER_TOKEN = 0.75
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)


def number(*words, below):
    """A number below `below` that depends on the words alone."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "little") % below


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def read(folder):
    """Paragraphs and queries by id, pools and relevant paragraphs by query."""
    def text(line):
        return f"{line.get('title') or ''} {line['text']}".strip()

    corpus = {str(line["_id"]): text(line) for line in lines(folder / "corpus.jsonl")}
    queries = {str(line["_id"]): line["text"] for line in lines(folder / "queries.jsonl")}
    pools = {str(line["query"]): [str(c) for c in line["candidates"]] for line in lines(folder / "candidates.jsonl")}
    relevant = {}
    with open(folder / "qrels/test.tsv", encoding="utf-8") as file:
        for line in list(file)[1:]:
            query, paragraph, grade = line.rstrip("\n").split("\t")
            if int(grade) > 0:
                relevant.setdefault(query, {})[paragraph] = int(grade)
    return corpus, queries, pools, relevant


def spread(items, count):
    """`count` of the items, as evenly as can be."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def long_text(own, place, tokens, others, corpus, key):
    """A text of about so many tokens with the paragraph `own` at a place, 0 to 1, among paragraphs of `others`."""
    wanted = int(tokens * WORDS_PER_TOKEN)
    words = len(corpus[own].split())
    around, used, tries = [], {own}, 0
    while words < wanted and tries < 50 * len(PLACES) + 10 * wanted:
        other = others[number(key, own, tries, below=len(others))]
        tries += 1
        if other not in used:
            used.add(other)
            around.append(corpus[other])
            words += len(corpus[other].split())
    if around:
        # The last one to the length; its beginning is prose as any other.
        last = around[-1].split()
        around[-1] = " ".join(last[: max(len(last) - (words - wanted), 1)])
    before = round(place * len(around))
    return "\n\n".join(around[:before] + [corpus[own]] + around[before:])


def build(name, data, out, tokens, count, texts, seed):
    corpus, queries, pools, relevant = read(data / name)
    # Queries with a relevant paragraph in their pool.
    judged = [q for q in pools if any(c in relevant.get(q, {}) for c in pools[q][:texts])]
    folder = out / f"{name}-{tokens}"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    made, asked, candidates, grades = [], [], [], ["query-id\tcorpus-id\tscore"]
    turn = other_turn = 0
    for query in spread(judged, count):
        pool = pools[query]
        right = [c for c in pool if c in relevant[query]][:texts]
        wrong = [c for c in pool if c not in relevant[query]][: texts - len(right)]
        others = sorted(set(corpus) - set(pool) - set(relevant[query]))
        ids = []
        for own in right + wrong:
            if own in relevant[query]:
                place, turn = PLACES[turn % len(PLACES)], turn + 1
            else:
                place, other_turn = PLACES[other_turn % len(PLACES)], other_turn + 1
            text = long_text(own, place, tokens, others, corpus, f"{seed}/{name}/{tokens}/{query}")
            made.append({"_id": f"{query}/{own}", "text": text, "paragraph": own, "place": place})
            ids.append(f"{query}/{own}")
            if own in relevant[query]:
                grades.append(f"{query}\t{query}/{own}\t{relevant[query][own]}")
        ids.sort(key=lambda text: number(seed, text, below=1 << 62))
        asked.append({"_id": query, "text": queries[query]})
        candidates.append({"query": query, "candidates": ids})
    for file, rows in (("corpus", made), ("queries", asked), ("candidates", candidates)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels/test.tsv").write_text("\n".join(grades) + "\n", encoding="utf-8")
    words = sum(len(row["text"].split()) for row in made) / max(len(made), 1)
    print(f"{folder}: {len(asked)} queries, {len(made)} texts of {words:.0f} words in the mean")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, required=True, help="folder of the ranking sets")
    arguments.add_argument("--out", type=Path, required=True, help="folder for the sets of long texts")
    arguments.add_argument("--set", action="append", help="a set's folder in --data; may be repeated")
    arguments.add_argument("--tokens", type=int, action="append", help="length of the texts; may be repeated")
    arguments.add_argument("--queries", type=int, default=20, help="queries of each set at most (default: %(default)s)")
    arguments.add_argument("--texts", type=int, default=20, help="texts of each query at most (default: %(default)s)")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    for name in given.set or ["xquad-en", "hotpotqa", "musique"]:
        for tokens in given.tokens or [1024, 2048, 4096, 8192]:
            build(name, given.data, given.out, tokens, given.queries, given.texts, given.seed)


if __name__ == "__main__":
    main()
