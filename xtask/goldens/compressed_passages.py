"""Scores of bge-reranker-v2.5-gemma2-lightweight's own modelling code with compressed passages (README.md beside this file).
usage: compressed_passages.py FLAG_EMBEDDING GOLDENS OUT"""

import argparse
import importlib
import json
import sys
import types
from pathlib import Path

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers.utils import logging

MODELS = "FlagEmbedding/inference/reranker/decoder_only/models"
CASE = "gemma2-lightweight-f32"
PROMPT = "Predict whether passage B contains an answer to query A."
# `compress_ratio` and `compress_layer`.
SETTINGS = [
    (2, [3]),
    (4, [3]),
    (8, [1]),
    (2, [1, 2]),
    (4, [2, 5]),
    (8, [1, 4]),
    (2, [1, 2, 3, 4, 5]),
]
CUTOFF_LAYERS = [2, 4, 6]


def reference(checkout, folder):
    """`CostWiseGemmaForCausalLM` of a checkout of FlagEmbedding, without the rest of that package."""
    package = types.ModuleType("lightweight")
    package.__path__ = [str(checkout / MODELS)]
    sys.modules[package.__name__] = package
    code = importlib.import_module("lightweight.gemma_model")
    kind = code.CostWiseGemmaForCausalLM
    return kind.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()


def tokenizer(folder):
    """As `GemmaTokenizer` sets it up, whatever the file says."""
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.normalizer = normalizers.Replace(" ", "▁")
    own.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    own.post_processor = None
    return own


def candidate(own, pair):
    """A pair's ids with the lengths of what stands before and behind the passage: `compute_score_single_gpu`."""
    ids = lambda text: own.encode(text, add_special_tokens=False).ids
    prompt = PROMPT if pair["instruction"] is None else pair["instruction"]
    before = [own.token_to_id("<bos>")] + ids("A: " + pair["query"]) + ids("\n")
    behind = ids("\n") + ids(prompt)
    passage = ids("B: " + pair["document"])[: max(0, pair["max_tokens"] - len(before) - len(behind))]
    assert before + passage + behind == pair["ids"], pair["query"]
    return pair["ids"], len(before), len(behind)


def batch(candidates):
    """Padded at the right to a multiple of 8, as their collator has it."""
    longest = -(-max(len(ids) for ids, _, _ in candidates) // 8) * 8
    pad = lambda values: values + [0] * (longest - len(values))
    return {
        "input_ids": torch.tensor([pad(ids) for ids, _, _ in candidates]),
        "attention_mask": torch.tensor([pad([1] * len(ids)) for ids, _, _ in candidates]),
        "query_lengths": [query for _, query, _ in candidates],
        "prompt_lengths": [prompt for _, _, prompt in candidates],
    }


def last_logits(logits, mask):
    """`last_logit_pool_lightweight`; nothing is padded at the left here."""
    return [float(row[length - 1]) for row, length in zip(logits, mask.sum(dim=1))]


def scores(model, candidates, ratio, layers):
    """By candidate, those after each of `CUTOFF_LAYERS`."""
    with torch.no_grad():
        more = dict(compress_layer=layers, compress_ratio=ratio, cutoff_layers=CUTOFF_LAYERS)
        output = model(**batch(candidates), output_hidden_states=True, **more)
    after = [last_logits(logits, mask) for logits, mask in zip(output.logits, output.attention_masks)]
    return [[float(f"{score:.9g}") for score in of_one] for of_one in zip(*after)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flag_embedding", type=Path)
    parser.add_argument("goldens", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    folder = arguments.goldens / CASE
    pairs = json.loads((folder / "golden.json").read_text())["pairs"]
    # Where the query was cut, the reference would have refused the pair.
    pairs = [pair for pair in pairs if not pair.get("query_truncated")]
    own, model = tokenizer(folder), reference(arguments.flag_embedding, folder)
    candidates = [candidate(own, pair) for pair in pairs]
    lengths = [len(ids) - before - behind for ids, before, behind in candidates]
    whole = scores(model, candidates, 1, [8])
    for pair, found in zip(pairs, whole):
        for score, expected in zip(found, filter(None, pair["logits_after_layer"]), strict=True):
            assert abs(score - expected) <= 1e-5 * max(1.0, abs(expected)), (pair["query"], score, expected)
    settings = []
    for ratio, layers in SETTINGS:
        assert any(length % ratio for length in lengths) and (ratio < 8 or min(lengths) < ratio), lengths
        of_pairs = scores(model, candidates, ratio, layers)
        moved = max(abs(a[-1] - b[-1]) for a, b in zip(of_pairs, whole))
        print(f"{ratio} before {layers}: the last scores move by up to {moved:.2f}")
        assert moved > 0.1
        settings.append(dict(ratio=ratio, layers=layers, scores=of_pairs))
    passages = [[before, before + length] for (_, before, _), length in zip(candidates, lengths)]
    keys = ("query", "document", "instruction", "max_tokens")
    pairs = [{key: pair[key] for key in keys} | {"passage": passage} for pair, passage in zip(pairs, passages)]
    write(arguments.out / f"{CASE}.json", {"after_layers": CUTOFF_LAYERS, "pairs": pairs, "settings": settings})


def write(path, content):
    """One pair or setting a line."""
    line = lambda value: json.dumps(value, separators=(",", ":"))
    lists = (f'"{key}": [\n' + ",\n".join(map(line, content[key])) + "\n]" for key in ("pairs", "settings"))
    path.write_text("{" + f'"after_layers": {line(content["after_layers"])},\n' + ",\n".join(lists) + "}\n")


if __name__ == "__main__":
    main()
