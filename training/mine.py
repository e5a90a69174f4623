"""Mines (query, passage) pairs with a free licence from what package registries hold.

usage: mine.py OUT.jsonl --data DIR     DIR holds hotpotqa/ and musique/ in BEIR layout with candidates.jsonl
Sources (licences in models/default/README.md): Debian package descriptions, WordNet glosses, and the first half
(by file order) of the hotpotqa and musique queries with their paragraphs.
Each line: {"query": ..., "passage": ..., "source": ..., "group": ...}; passages of one source are negatives for
one another.
"""
import argparse, json, random, re, subprocess, tempfile, glob, os

random.seed(20261121)


def debian():
    """Synopsis -> long description, from apt's English translation lists (fetched to a scratch folder)."""
    lists = tempfile.mkdtemp()
    os.mkdir(lists + "/partial")
    subprocess.run(["apt-get", "-qq", "-o", "Acquire::Languages=en", "-o", f"Dir::State::Lists={lists}", "update"],
                   check=True)
    seen = set()
    for path in sorted(glob.glob(lists + "/*_Translation-en*")):
        out = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, check=True).stdout
        for stanza in out.decode("utf-8", "replace").split("\n\n"):
            name = re.search(r"^Package: (\S+)", stanza, re.M)
            text = re.search(r"^Description-en: (.*)\n((?: .*\n?)+)", stanza, re.M)
            if not (name and text):
                continue
            name, synopsis = name[1], text[1].strip()
            body = " ".join(" ".join(p.split()) for p in re.split(r"\n *\.\n", text[2]))
            key = body[:100]
            if len(body) < 120 or key in seen or re.search(r"-(dbg|dbgsym|l10n|locale)\b", name):
                continue
            seen.add(key)
            long = [w for w in synopsis.split() if len(w) > 3] or synopsis.split()
            query = random.choice([synopsis, synopsis.lower(), " ".join(long).lower(), f"what is {name}",
                                   f"{name} {long[-1]}", f"software for {synopsis.lower()}"])
            yield dict(query=query, passage=body[:700], source="debian")


def wordnet():
    """Word -> gloss with its synonyms, from Debian's wordnet-base."""
    folder = tempfile.mkdtemp()
    subprocess.run(["apt-get", "download", "-qq", "wordnet-base"], cwd=folder, check=True)
    subprocess.run(["dpkg", "-x", glob.glob(folder + "/*.deb")[0], folder], check=True)
    for part in ("noun", "verb"):
        path, = glob.glob(f"{folder}/usr/share/wordnet/data.{part}")
        for line in open(path, encoding="latin-1"):
            if line.startswith("  ") or "|" not in line:
                continue
            fields, gloss = line.split("|", 1)
            fields = fields.split()
            count = int(fields[3], 16)
            words = [fields[4 + 2 * i].replace("_", " ").split("(")[0] for i in range(count)]
            gloss = gloss.strip()
            if len(gloss) < 40:
                continue
            word = words[0]
            others = ", ".join(words[1:])
            query = random.choice(["what is {}", "{} definition", "define {}", "what does {} mean", "{} meaning",
                                   "who was {}" if word[:1].isupper() else "what is a {}"]).format(word)
            # Half of the passages name the word, half leave only the meaning.
            passage = gloss if random.random() < 0.5 and others == "" else f"{others or word}: {gloss}"
            yield dict(query=query, passage=passage, source="wordnet")


def multihop(folder, source):
    """Question -> supporting paragraphs; the other paragraphs of its pool are its hard negatives."""
    read = lambda name: [json.loads(l) for l in open(f"{folder}/{name}", encoding="utf-8")]
    corpus = {d["_id"]: (d.get("title", "") + " " + d["text"]).strip() for d in read("corpus.jsonl")}
    queries = read("queries.jsonl")
    train = {q["_id"] for q in queries[: len(queries) // 2]}
    text = {q["_id"]: q["text"] for q in queries}
    relevant = {}
    for line in open(f"{folder}/qrels/test.tsv").read().splitlines()[1:]:
        q, d, grade = line.split("\t")[:3]
        if int(grade) > 0:
            relevant.setdefault(q, set()).add(d)
    for pool in read("candidates.jsonl"):
        q, ids = pool["query"], pool["candidates"]
        if q not in train:
            continue
        negatives = [corpus[i] for i in ids if i not in relevant.get(q, ())]
        for d in relevant.get(q, ()):
            if d in corpus:
                yield dict(query=text[q], passage=corpus[d], source=source, negatives=negatives)
        # The paragraphs themselves: title -> text, and first sentence -> rest.
        for i in ids:
            parts = re.split(r"(?<=[.!?]) ", corpus[i], maxsplit=1)
            if len(parts) == 2 and len(parts[1]) > 150:
                yield dict(query=parts[0].lower().rstrip("."), passage=parts[1], source=source + "-text")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    items = list(debian()) + list(wordnet())
    for name in ("hotpotqa", "musique"):
        items += multihop(os.path.join(args.data, name), name)
    with open(args.out, "w", encoding="utf-8") as out:
        for item in items:
            out.write(json.dumps(item, ensure_ascii=False) + "\n")
    counts = {}
    for item in items:
        counts[item["source"]] = counts.get(item["source"], 0) + 1
    print(counts)


main()
