"""Mines passages and search queries with a free licence from Debian packages and from parts of hotpotqa and musique.

usage: mine.py OUT_DIR --data DIR      (a minute; DIR holds hotpotqa/ and musique/ in BEIR layout)
Writes passages.jsonl ({"text", "source"}) and queries.jsonl ({"text", "source", "right": passage numbers}). Sources and
licences are in models/default/README.md. Of hotpotqa and musique only the first halves (by file order) of the queries
and the paragraphs in their pools are read.
"""
import argparse, glob, html, json, os, random, re, subprocess, tempfile, zlib

SEED = 20261121
TAKE = dict(debian=6500, wordnet=5500, foldoc=4000)     # passages of the large sources
STOP = set("a an and are as at be been but by can for from has have he her his if in into is it its may not of on or "
           "she such that the their them then there these they this to was were which who will with you your".split())
VERBS = "is|are|was|were|has|have|had|can|does|did|became|won|played|wrote|served|contains|provides|lies|uses|began|refers"
words = lambda s: re.findall(r"\w+(?:[-']\w+)*", s)


class Mined:
    def __init__(self):
        self.passages, self.queries = [], []

    def passage(self, text, source):
        self.passages.append(dict(text=" ".join(text.split()), source=source))
        return len(self.passages) - 1

    def query(self, text, right, source):
        text = " ".join(text.split()).strip(" .,:;")
        if len(text) > 2:
            self.queries.append(dict(text=text if random.random() < 0.4 else text.lower(), source=source, right=right))


def chunks(text, long_share=0.2):
    """Runs of whole sentences, of 20 to 55 words mostly, of up to 120 now and then."""
    out, part, limit = [], [], 0
    for sentence in re.split(r"(?<=[.!?]) +", " ".join(text.split())):
        limit = limit or (120 if random.random() < long_share else random.randint(25, 55))
        part.append(sentence)
        if len(" ".join(part).split()) >= 0.7 * limit:
            out.append(" ".join(" ".join(part).split()[:130]))
            part, limit = [], 0
    if part and (len(" ".join(part).split()) >= 8 or not out):
        out.append(" ".join(part))
    return out


def keywords(text, title=""):
    found = [w for w in words(text) if w.lower() not in STOP and len(w) > 3]
    if len(found) < 3:
        return title
    at = random.randrange(len(found))
    near = found[max(0, at - 4): at + 5]
    chosen = sorted(random.sample(range(len(near)), min(len(near), random.randint(2, 4))))
    name = [title] if title and random.random() < 0.6 else []
    return " ".join(name + [near[i] for i in chosen])


def question_of(text, title=""):
    """A question whose answer stands in one sentence of the text: its subject gives way to a question word."""
    sentences = [s for s in re.split(r"(?<=[.!?]) +", text) if 6 <= len(s.split()) <= 40]
    random.shuffle(sentences)
    for sentence in sentences:
        m = re.match(rf"(.{{2,60}}?) ({VERBS}) (.+)", sentence)
        if not m:
            continue
        subject, verb, rest = m[1], m[2], " ".join(m[3].rstrip(".").split()[:random.randint(4, 10)])
        person = re.search(r"^(He|She|His|Her)\b", sentence) or re.search(r"born|singer|player|actor|politician|author", rest)
        subject = title if re.match(r"(He|She|It|They|His|Her|The|This)\b", subject) and title else subject
        aux = verb if verb in ("is", "are", "was", "were", "can", "has", "have", "had") else "did"
        if re.search(r"\b(1[5-9]|20)\d\d\b", rest) and random.random() < 0.6:
            return f"when {aux} {subject} {re.split(r' (?:in|on|from|since|by) |,', rest)[0]}"
        if re.search(r"\b(located|situated|based|born|lies)\b", rest) and random.random() < 0.5:
            return f"where {aux} {subject} {rest.split()[0]}"
        kind = random.random()
        if kind < 0.4:
            return f"{'who' if person else 'what'} {verb} {rest}"
        if kind < 0.6:
            return f"{random.choice(['how', 'why'])} {aux} {subject} {' '.join(rest.split()[:5])}"
        return f"{'who' if person else 'what'} {verb} {'' if verb in ('is', 'was', 'are', 'were') else rest} {subject if verb in ('is', 'was', 'are', 'were') else ''}"
    return f"what is {title}" if title else keywords(text)


def define(word):
    return random.choice(["what is {}", "{} definition", "define {}", "what does {} mean", "{} meaning", "what is a {}", "{}",
                          "definition of {}", "what are {}", "explain {}"]).format(word)


def package(name):
    folder = tempfile.mkdtemp()
    subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["dpkg", "-x", glob.glob(folder + "/*.deb")[0], folder], check=True)
    return folder


def debian(mined):
    """Package descriptions from apt's English translation lists."""
    lists = tempfile.mkdtemp()
    os.mkdir(lists + "/partial")
    subprocess.run(["apt-get", "-qq", "-o", "Acquire::Languages=en", "-o", f"Dir::State::Lists={lists}", "update"], check=True)
    found = {}
    for path in sorted(glob.glob(lists + "/*_Translation-en*")):
        out = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, check=True).stdout
        for stanza in out.decode("utf-8", "replace").split("\n\n"):
            name = re.search(r"^Package: (\S+)", stanza, re.M)
            text = re.search(r"^Description-en: (.*)\n((?: .*\n?)+)", stanza, re.M)
            if name and text and not re.search(r"-(dbg|dbgsym|l10n|locale|dev|doc|data|common)\b|^(lib|golang-|node-|rust-)", name[1]):
                body = " ".join(" ".join(p.split()) for p in re.split(r"\n *\.\n", text[2]))
                if len(body) > 120 and "transitional" not in text[1]:
                    found.setdefault(body[:60], (name[1], text[1].strip(), body))
    for name, synopsis, body in random.sample(sorted(found.values()), min(len(found), TAKE["debian"])):
        text = chunks(body)[0]
        at = mined.passage(text, "debian")
        query = random.choice([synopsis, synopsis, f"what is {name}", f"software for {synopsis}", f"how to {synopsis}",
                               keywords(text, name), keywords(text), keywords(text), question_of(text, name)])
        mined.query(query, [at], "debian")


def wordnet(mined):
    """Glosses with their synonyms."""
    folder, found = package("wordnet-base"), []
    for part in ("noun", "verb"):
        for line in open(f"{folder}/usr/share/wordnet/data.{part}", encoding="latin-1"):
            if line.startswith("  ") or "|" not in line:
                continue
            fields, gloss = line.split("|", 1)
            fields = fields.split()
            names = [fields[4 + 2 * i].replace("_", " ").split("(")[0] for i in range(int(fields[3], 16))]
            if len(gloss.strip()) > 45:
                found.append((names, gloss.strip()))
    for names, gloss in random.sample(found, TAKE["wordnet"]):
        hidden = random.random() < 0.3                      # the passage gives the meaning, not the word
        text = gloss if hidden else f"{', '.join(names)}: {gloss}" if random.random() < 0.5 else \
            f"{names[0]} {random.choice(['means', 'is', '-', 'refers to'])} {gloss}"
        at = mined.passage(text, "wordnet")
        mined.query(define(random.choice(names)) if random.random() < 0.75 else keywords(gloss), [at], "wordnet")


def foldoc(mined):
    """Articles of the Free On-line Dictionary of Computing."""
    folder = package("dict-foldoc")
    # dictzip is gzip with extra fields, which zlib skips.
    text = zlib.decompressobj(47).decompress(open(f"{folder}/usr/share/dictd/foldoc.dict.dz", "rb").read())
    articles = re.split(r"\n\n(?=\S)", text.decode("utf-8", "replace"))
    found = []
    for article in articles:
        head, _, body = article.partition("\n")
        body = re.sub(r"\[[^\]]*\]|\(\d{4}-\d\d-\d\d\)|<[^>]*>|\{?\(?http\S*|[{}_]", "", body)
        if len(body.split()) >= 15:
            found.append((head.strip(), body))
    for head, body in random.sample(found, min(len(found), TAKE["foldoc"])):
        for part in chunks(body)[:2]:
            at = mined.passage(part if head.lower() in part.lower() else f"{head} {part}", "foldoc")
            mined.query(random.choice([define(head), question_of(part, head), keywords(part, head)]), [at], "foldoc")


def sections(mined, heading, text, source, repeat=2):
    parts = chunks(text)
    for part in parts[:4]:
        at = mined.passage(part if random.random() < 0.6 else f"{heading} {part}", source)
        for _ in range(repeat):
            mined.query(random.choice([heading, keywords(part, heading), question_of(part), keywords(part)]), [at], source)


def documentation(mined):
    """The Perl FAQ, GNOME's user help, the Debian Administrator's Handbook: headings and their sections."""
    clean = lambda s: html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"(?s)<(script|style|pre|screen|code)\b.*?</\1>", " ", s)))
    for path in sorted(glob.glob(package("perl-doc") + "/usr/share/perl/*/pod/perlfaq[1-9].pod")):
        for part in open(path, encoding="utf-8").read().split("\n=head2 ")[1:]:
            head, _, body = part.partition("\n")
            body = "\n\n".join(p for p in body.split("\n\n") if p[:1] not in (" ", "=", "\t"))
            sections(mined, re.sub(r"[A-Z]<(.*?)>", r"\1", head), re.sub(r"[A-Z]<(.*?)>", r"\1", body), "perlfaq")
    for path in sorted(glob.glob(package("gnome-user-docs") + "/usr/share/help/C/*/*.page")):
        page = re.sub(r"(?s)<info>.*?</info>", "", open(path, encoding="utf-8").read())
        title = re.search(r"<title>(.*?)</title>", page, re.S)
        body = " ".join(clean(p) for p in re.findall(r"(?s)<p>(.*?)</p>", page))
        if title and len(body.split()) > 25:
            heading = clean(title[1])
            sections(mined, heading if random.random() < 0.5 else f"how to {heading}", body, "gnome")
    for path in sorted(glob.glob(package("debian-handbook") + "/usr/share/doc/debian-handbook/html/en-US/*.html")):
        for part in re.split(r"<h[234] class=\"title\">", open(path, encoding="utf-8").read())[1:]:
            head, _, body = part.partition("</h")
            body = " ".join(clean(p) for p in re.findall(r"(?s)<div class=\"para\">(.*?)</div>", body))
            if len(body.split()) > 25:
                sections(mined, re.sub(r"^[\d.\s]+", "", clean(head)), body, "handbook")


def multihop(mined, folder, source):
    """Questions with their supporting paragraphs, and queries made from every paragraph of their pools."""
    read = lambda name: [json.loads(l) for l in open(f"{folder}/{name}", encoding="utf-8")]
    corpus = {d["_id"]: d for d in read("corpus.jsonl")}
    queries = read("queries.jsonl")
    train = {q["_id"]: q["text"] for q in queries[: len(queries) // 2]}
    right = {}
    for line in open(f"{folder}/qrels/test.tsv").read().splitlines()[1:]:
        q, d, grade = line.split("\t")[:3]
        if int(grade) > 0:
            right.setdefault(q, set()).add(d)
    places = {}
    for pool in read("candidates.jsonl"):
        if pool["query"] not in train:
            continue
        for i in pool["candidates"]:
            if i not in places:
                title, places[i] = corpus[i]["title"], []
                for part in chunks(corpus[i]["text"], 0.3)[:3]:
                    places[i].append(mined.passage(f"{title} {part}", source))
                    for _ in range(2):
                        mined.query(random.choice([question_of(part, title)] * 3 + [keywords(part, title), keywords(part), define(title)]),
                                    [places[i][-1]], source)
        # Several lists for each of the few real questions.
        for _ in range(8):
            support = [p for i in right.get(pool["query"], ()) for p in places.get(i, ())]
            if support:
                mined.query(train[pool["query"]], support, source + "-question")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    random.seed(SEED)
    mined = Mined()
    for part in (debian, wordnet, foldoc, documentation):
        part(mined)
    for name in ("hotpotqa", "musique"):
        multihop(mined, os.path.join(args.data, name), name)
    os.makedirs(args.out, exist_ok=True)
    for name in ("passages", "queries"):
        rows, counts = getattr(mined, name), {}
        with open(f"{args.out}/{name}.jsonl", "w", encoding="utf-8") as out:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                counts[row["source"]] = counts.get(row["source"], 0) + 1
        print(name, len(rows), counts)


if __name__ == "__main__":
    main()
