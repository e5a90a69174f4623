"""Passages of the English Wikipedia (CC BY-SA, July 2019) with queries made from them, put together with what mine.py found.

usage: wikipedia.py MINED_DIR OUT.json --data DIR [--pages GIT_DIR] [--passages N]
GIT_DIR is a clone of github.com/chinapedia/wikipedia.abstract.en, whose files Page/TITLE.md hold pages as plain text; it is
cloned where it is missing (a few GiB). DIR holds the evaluation sets in BEIR layout: pages are left out whose title stands in one of
them, passages that share nine words in a row with one.
"""
import argparse, glob, json, os, random, re, subprocess

from mine import chunks, define, keywords, question_of

SEED = 7
SOURCE = "https://github.com/chinapedia/wikipedia.abstract.en"
SHINGLE = 9                                                 # words in a row
ENDINGS = {"References", "External links", "See also", "Notes", "Further reading", "Bibliography", "Sources"}
KEEP = dict(debian=0.75, wordnet=0.45, foldoc=0.8)          # share of mined passages; all of other sources
PER_PAGE = 6


class Evaluated:
    """What the evaluation sets hold."""

    def __init__(self, folder):
        self.titles, self.shingles = set(), set()
        for path in glob.glob(f"{folder}/*/corpus.jsonl"):
            for line in open(path, encoding="utf-8"):
                text = json.loads(line)
                self.titles.add((text.get("title") or "").strip().lower())
                self.shingles.update(self.of(text["text"]))
        self.titles.discard("")

    @staticmethod
    def of(text):
        words = re.findall(r"\w+", text.lower())
        return (hash(" ".join(words[i:i + SHINGLE])) for i in range(len(words) - SHINGLE + 1))

    def has(self, text):
        return any(shingle in self.shingles for shingle in self.of(text))


class Texts:
    def __init__(self):
        self.passages, self.queries, self.right = [], [], []

    def passage(self, text):
        self.passages.append(text)
        return len(self.passages) - 1

    def query(self, text, right):
        text = " ".join(text.split()).strip(" .,:;")
        if len(text) > 2:
            self.queries.append(text if random.random() < 0.35 else text.lower())
            self.right.append(right)


def pages(folder):
    """(title, text) in random order; git's object store is read in one process, since there are millions of files."""
    git = ["git", "-C", folder, "-c", "core.quotepath=off"]
    listed = subprocess.run([*git, "ls-tree", "-r", "HEAD"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = []
    for line in listed:
        about, path = line.split("\t", 1)
        path = path.strip('"')
        if path.startswith("Page/") and path.endswith(".md"):
            found.append((about.split()[2], path[5:-3].replace("_", " ")))
    random.shuffle(found)
    with subprocess.Popen([*git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for blob, title in found:
            process.stdin.write(f"{blob}\n".encode())
            process.stdin.flush()
            size = int(process.stdout.readline().split()[2])
            text = process.stdout.read(size).decode("utf-8", "replace")
            process.stdout.read(1)
            yield title, text
        process.stdin.close()


def paragraphs(text, name):
    """(heading, paragraph) of running text; lists, tables and what follows the references are left out."""
    heading = ""
    for paragraph in re.sub(r"\[\d+\]|\[note \d+\]|\[citation needed\]|_|\^", "", text).split("\n\n"):
        flat = " ".join(paragraph.split())
        if not flat or flat[0] in "-|+#>*" or "|" in flat[:80]:
            continue
        if len(flat) < 60 and not flat.endswith("."):
            heading = flat if re.match(r"^[A-Z][\w ,'&-]{2,50}$", flat) else ""
            if heading in ENDINGS:
                return
        elif len(flat.split()) >= 12 and re.search(r"[.!?][\"')]*$", flat):
            # Names in bold are written in capitals there.
            capitals = r"\b[A-Z][A-Z'-]{2,}(?: [A-Z0-9'-]{2,})*\b"
            yield heading, re.sub(capitals, lambda m: name if m[0].lower() == name.lower() else m[0], flat)


def makers(part, name, heading, first):
    """Ways to make a query that the passage answers."""
    ways = [lambda: question_of(part, name)] * 2 + [lambda: keywords(part, name), lambda: keywords(part)]
    if first:
        ways += [lambda: define(name)] * 4
        ways += [lambda: f"who is {name}", lambda: f"where is {name}", lambda: f"{name} facts"]
    if heading:
        ways += [lambda: f"{name} {heading}", lambda: f"what is the {heading} of {name}", lambda: f"{heading.lower()} {name}"]
    return ways


def add_page(texts, name, text, evaluated):
    taken = 0
    for number, (heading, paragraph) in enumerate(paragraphs(text, name)):
        for part in chunks(paragraph, 0.3)[: 3 if taken else 2]:
            if evaluated.has(part):
                continue
            named = random.random() < 0.25 and name.lower() not in part.lower()
            at = texts.passage(f"{name} {part}" if named else part)
            taken += 1
            for _ in range(1 if random.random() < 0.4 else 2):
                texts.query(random.choice(makers(part, name, heading, number == 0))(), [at])
        if taken >= PER_PAGE:
            return


def add_mined(texts, folder, evaluated):
    read = lambda name: [json.loads(line) for line in open(f"{folder}/{name}.jsonl", encoding="utf-8")]
    numbers = {}
    for number, passage in enumerate(read("passages")):
        # Paragraphs of hotpotqa and musique are those of the halves that may be trained on.
        ours = passage["source"] not in KEEP or not evaluated.has(passage["text"])
        if random.random() < KEEP.get(passage["source"], 1) and ours:
            numbers[number] = texts.passage(passage["text"])
    for query in read("queries"):
        right = [numbers[i] for i in query["right"] if i in numbers]
        if right:
            texts.queries.append(query["text"])
            texts.right.append(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mined")
    parser.add_argument("out")
    parser.add_argument("--data", required=True)
    parser.add_argument("--pages", default="wikipedia.abstract.en")
    parser.add_argument("--passages", type=int, default=170_000)
    args = parser.parse_args()
    random.seed(SEED)
    if not os.path.exists(args.pages):
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", "--no-checkout", SOURCE, args.pages], check=True)
    evaluated, texts = Evaluated(args.data), Texts()
    for title, text in pages(args.pages):
        name = re.sub(r" \(.*\)$", "", title)
        if len(texts.passages) >= args.passages:
            break
        if evaluated.titles.isdisjoint((title.lower(), name.lower())):
            add_page(texts, name, text, evaluated)
    print(f"{len(texts.passages)} passages of Wikipedia, {len(texts.queries)} queries", flush=True)
    add_mined(texts, args.mined, evaluated)
    print(f"{len(texts.passages)} passages, {len(texts.queries)} queries")
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(vars(texts), out, ensure_ascii=False)


if __name__ == "__main__":
    main()
