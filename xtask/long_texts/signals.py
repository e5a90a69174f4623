#!/usr/bin/env python3
"""How much of the right paragraph is in the blocks that attention keeps, layer by layer: the tables of docs/measurements/long-texts.md.

    python xtask/long_texts/signals.py --model DIR --data DIR --set OUT/xquad-en-1024 --texts 8

Needs torch, transformers and tokenizers; --model is a decoder's folder, --data the set that the long texts were built of
(`build.py`). Signals are `scored` (what the last token pays to each token of the text) and `query` (what each token of the
text pays to the query's), the most of any head; blocks have 64 tokens.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

BLOCK = 64
SYSTEM = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: "
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def share_kept(signal, mine, share):
    """Of the tokens `mine`, the share in those of the blocks with the highest mean that come to `share` of all."""
    blocks = signal.split(BLOCK)
    keep = max(1, round(share * len(blocks) + 0.499))
    best = torch.stack([block.mean() for block in blocks]).topk(keep).indices.tolist()
    kept = torch.zeros_like(mine)
    for block in best:
        kept[block * BLOCK : (block + 1) * BLOCK] = True
    return (kept & mine).sum().item() / mine.sum().item()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--set", type=Path, required=True)
    arguments.add_argument("--texts", type=int, default=8)
    given = arguments.parse_args()
    tokenizer = Tokenizer.from_file(str(given.model / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32, attn_implementation="eager").eval()
    paragraphs = {str(p["_id"]): f"{p.get('title') or ''} {p['text']}".strip() for p in lines(given.data / "corpus.jsonl")}
    texts = {text["_id"]: text for text in lines(given.set / "corpus.jsonl")}
    queries = {query["_id"]: query["text"] for query in lines(given.set / "queries.jsonl")}
    judged = (given.set / "qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]

    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    found = {}
    for line in judged[: given.texts]:
        query, name, _ = line.split("\t")
        text, own = texts[name]["text"], paragraphs[texts[name]["paragraph"]]
        start = text.index(own)
        encoded = tokenizer.encode(text, add_special_tokens=False)
        mine = torch.tensor([start <= at < start + len(own) for at, _ in encoded.offsets])
        first, last = len(ids(SYSTEM)), len(ids(SYSTEM + queries[query]))
        before = ids(SYSTEM + queries[query] + "\n<Document>: ")
        begin, end = len(before), len(before) + len(encoded.ids)
        with torch.no_grad():
            output = model(torch.tensor([before + encoded.ids + ids(SUFFIX)]), output_attentions=True)
        for layer, attention in enumerate(output.attentions):
            signals = {
                "scored": attention[0, :, -1, begin:end].max(0).values,
                "query": attention[0, :, begin:end, first:last].sum(-1).max(0).values,
            }
            for signal, paid in signals.items():
                for share in (0.5, 0.3):
                    found.setdefault((share, signal), {}).setdefault(layer, []).append(share_kept(paid, mine, share))
    for (share, signal), layers in found.items():
        means = " ".join(f"{100 * sum(kept) / len(kept):3.0f}" for kept in layers.values())
        print(f"{share} {signal:6} {means}")


if __name__ == "__main__":
    main()
