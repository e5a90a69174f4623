#!/usr/bin/env python3
"""Where a decoder reads its score from: how far scores stay where a text's tokens leave after a depth (docs/long-texts.md).

    python xtask/long_texts/spread.py --model DIR --set OUT/xquad-en-1024 --queries 2 --texts 10

Needs torch, safetensors and tokenizers; --model is the folder of a Llama or Qwen2 with tied embeddings, --set one that
`build.py` wrote. Each text is run once in full, in float32, and once more from each depth on, with what is left of it:

- `all leave`: template and query alone,
- `1 in 20 stay`: those that the scored token pays most to there, on the mean of its heads,
- `0.3 stay`: as many by the same,
- `0.3, hindsight`: those that it pays most to in the layers that are still to come,
- `0.3, any`: tokens in no order.

Printed are the mean of Kendall's correlation with the full scores, and the error: the deviation of the differences by that
of the full scores. The prompt is that of Qwen3-Reranker.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

DEPTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# A name, the share that stays, and by what.
KEEPS = (
    ("all leave", 0.0, "scored"),
    ("1 in 20 stay", 0.05, "scored"),
    ("0.3 stay", 0.3, "scored"),
    ("0.3, hindsight", 0.3, "hindsight"),
    ("0.3, any", 0.3, "any"),
)
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
BODY = "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: {}\n<Document>: "
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class Decoder:
    """Llama or Qwen2, one sequence at a time, by layer."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.weights = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.layers, self.epsilon = config["num_hidden_layers"], config["rms_norm_eps"]
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.width = config["hidden_size"] // self.heads
        steps = torch.arange(0, self.width, 2).float() / self.width
        self.frequencies = config["rope_theta"] ** -steps
        embeddings = self.weights["model.embed_tokens.weight"]
        [yes], [no] = (self.ids(word) for word in ("yes", "no"))
        self.answer = embeddings[yes] - embeddings[no]

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encoded(self, query, text):
        """Ids, and the places of the text's tokens."""
        prefix, body = self.ids(PREFIX), self.tokenizer.encode(BODY.format(query) + text, add_special_tokens=False)
        start = next(i for i, (_, end) in enumerate(body.offsets) if end > len(BODY.format(query)))
        ids = prefix + body.ids + self.ids(SUFFIX)
        return torch.tensor(ids), range(len(prefix) + start, len(prefix) + len(body.ids))

    def linear(self, x, name):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weights[f"{name}.weight"]

    def rotated(self, x, places):
        angles = places[:, None].float() * self.frequencies
        cos, sin = (torch.cat([f(angles)] * 2, -1)[:, None] for f in (torch.cos, torch.sin))
        half = self.width // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def embed(self, ids):
        return self.weights["model.embed_tokens.weight"][ids]

    def layer(self, hidden, layer, places):
        """The hidden states after a layer, and what the last token pays to each in it, on the mean of the heads."""
        name = f"model.layers.{layer}"
        x = self.norm(hidden, f"{name}.input_layernorm")
        q, k, v = (
            self.linear(x, f"{name}.self_attn.{of}_proj").view(len(x), -1, self.width) for of in ("q", "k", "v")
        )
        q, k = self.rotated(q, places).transpose(0, 1), self.rotated(k, places).transpose(0, 1)
        k, v = (of.repeat_interleave(self.heads // self.kv_heads, 0) for of in (k, v.transpose(0, 1)))
        paid = (q[:, -1:] @ k.transpose(1, 2) * self.width**-0.5).softmax(-1).mean(0)[0]
        attended = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        hidden = hidden + self.linear(attended.transpose(0, 1).flatten(1), f"{name}.self_attn.o_proj")
        x = self.norm(hidden, f"{name}.post_attention_layernorm")
        gate, up = (self.linear(x, f"{name}.mlp.{of}_proj") for of in ("gate", "up"))
        return hidden + self.linear(F.silu(gate) * up, f"{name}.mlp.down_proj"), paid

    def score(self, hidden):
        return float(self.norm(hidden[-1], "model.norm") @ self.answer)


def scores(decoder, query, text):
    """The full score, and that of each depth and way to keep tokens there."""
    ids, own = decoder.encoded(query, text)
    places = torch.arange(len(ids))
    hidden, states, paid = decoder.embed(ids), [], []
    for layer in range(decoder.layers):
        hidden, mass = decoder.layer(hidden, layer, places)
        states.append(hidden)
        paid.append(mass)
    found = {None: decoder.score(hidden)}
    order = torch.Generator().manual_seed(len(ids))
    for depth in DEPTHS:
        at = round(depth * decoder.layers) - 1
        by = {
            "scored": paid[at],
            "hindsight": sum(paid[at + 1 :]),
            "any": torch.rand(len(ids), generator=order),
        }
        for name, share, signal in KEEPS:
            mass = by[signal][own.start : own.stop]
            best = mass.topk(math.ceil(share * len(mass))).indices + own.start
            stays = torch.ones(len(ids), dtype=torch.bool)
            stays[own.start : own.stop] = False
            stays[best] = True
            left, at_places = states[at][stays], places[stays]
            for layer in range(at + 1, decoder.layers):
                left, _ = decoder.layer(left, layer, at_places)
            found[(name, depth)] = decoder.score(left)
    return found


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--set", type=Path, required=True)
    arguments.add_argument("--queries", type=int, default=2)
    arguments.add_argument("--texts", type=int, default=10)
    given = arguments.parse_args()
    torch.set_grad_enabled(False)
    decoder = Decoder(given.model)
    texts = {text["_id"]: text["text"] for text in lines(given.set / "corpus.jsonl")}
    queries = {query["_id"]: query["text"] for query in lines(given.set / "queries.jsonl")}
    taus, errors = {}, {}
    for pool in lines(given.set / "candidates.jsonl")[: given.queries]:
        found = [scores(decoder, queries[pool["query"]], texts[text]) for text in pool["candidates"][: given.texts]]
        full = torch.tensor([of[None] for of in found])
        for key in (key for key in found[0] if key is not None):
            less = torch.tensor([of[key] for of in found])
            same = torch.sign(full[:, None] - full) * torch.sign(less[:, None] - less)
            taus.setdefault(key, []).append(float(same.sum()) / (len(full) * (len(full) - 1)))
            errors.setdefault(key, []).append(float((less - full).std() / full.std()))
    for title, of in (("tau", taus), ("error", errors)):
        print(f"{title:14} " + " ".join(f"{depth:5}" for depth in DEPTHS))
        for name, _, _ in KEEPS:
            means = (sum(of[(name, depth)]) / len(of[(name, depth)]) for depth in DEPTHS)
            print(f"{name:14} " + " ".join(f"{mean:5.2f}" for mean in means))


if __name__ == "__main__":
    main()
