"""What steps for bytes cost: a BERT cross-encoder's linear layers with rounded inputs and weights, beside f32.

usage: steps.py MODEL QUERIES TEXTS DATA...
  MODEL    folder of the checkpoint
  QUERIES  queries of each data set, evenly spaced
  TEXTS    texts of each query's pool, the first ones
  DATA     folders in BEIR layout with candidates.jsonl

Everything is multiplied in f32: only the rounding is that of bytes. The error is the deviation of the differences of
the logits by that of the logits, the mean over the queries.
"""

import os
import sys

import torch
from ranking_sets import queries_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH, MAX_LENGTH, BEST = 20, 256, 10


def in_blocks(x, block):
    return x.reshape(*x.shape[:-1], -1, block or x.shape[-1])


def symmetric(x, block=None):
    """255 steps around zero for each block of a row."""
    blocks = in_blocks(x, block)
    step = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127
    return ((blocks / step).round() * step).reshape(x.shape)


def from_least(x, block=None):
    """256 steps from the least (or 0) to the largest (or 0) for each block of a row."""
    blocks = in_blocks(x, block)
    low, high = blocks.amin(-1, keepdim=True).clamp_max(0), blocks.amax(-1, keepdim=True).clamp_min(0)
    step = ((high - low) / 255).clamp_min(1e-20)
    zero = (-low / step).round()
    return ((((blocks / step).round() + zero).clamp(0, 255) - zero) * step).reshape(x.shape)


def same(x, _=None):
    return x


def hadamard(size):
    """An orthogonal matrix of so many rows, a power of two, whose elements have one magnitude."""
    rows = torch.ones(1, 1)
    while rows.shape[0] < size:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return rows / size**0.5


ROTATED = 128
ROTATION = hadamard(ROTATED)


def rotated(way):
    """Rounds blocks that are multiplied by one rotation, which products of two of them do not show."""
    rotate = lambda x: (in_blocks(x, ROTATED) @ ROTATION).reshape(x.shape)
    return lambda x, block: rotate(way(rotate(x), block))


# Name: inputs and weights, each with its block, and whether columns are scaled against each other before.
WAYS = {
    "f32": ((same, None), (same, None), False),
    "bfloat16": ((lambda x, _: x.bfloat16().float(), None), (lambda w, _: w.bfloat16().float(), None), False),
    "128 of inputs, 128 of weights": ((from_least, 128), (symmetric, 128), False),
    "128 of inputs, a row of weights": ((from_least, 128), (symmetric, None), False),
    "a row of inputs, 128 of weights": ((from_least, None), (symmetric, 128), False),
    "a row of each": ((from_least, None), (symmetric, None), False),
    "a row of each, columns scaled": ((from_least, None), (symmetric, None), True),
    "a row of each, inputs around zero": ((symmetric, None), (symmetric, None), False),
    "128 of each, 128 columns rotated": ((rotated(symmetric), 128), (rotated(symmetric), 128), False),
    "a row of each, 128 columns rotated": ((rotated(symmetric), None), (rotated(symmetric), None), False),
}


def column_scales(model, name, weight):
    """SmoothQuant's scales, the norm before the layer in the place of samples; none where no norm is before it."""
    layers = model.bert.encoder.layer
    layer = int(name.split(".")[3])
    if any(part in name for part in (".query", ".key", ".value")):
        norm = layers[layer - 1].output.LayerNorm if layer else model.bert.embeddings.LayerNorm
    elif ".intermediate." in name:
        norm = layers[layer].attention.output.LayerNorm
    else:
        return torch.ones(weight.shape[1])
    inputs = 3 * norm.weight.abs() + norm.bias.abs()
    scales = (inputs / weight.abs().amax(0).clamp_min(1e-6)).sqrt()
    return scales / scales.mean()


def round_layers(model, way):
    """Rounds as `way` says; gives what undoes it."""
    (of_inputs, input_block), (of_weights, weight_block), scaled = way
    undo = []
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or ".encoder." not in name:
            continue
        weight = layer.weight.data
        scales = column_scales(model, name, weight) if scaled else torch.ones(weight.shape[1])

        def rounded(_, given, scales=scales):
            return (of_inputs(given[0] / scales, input_block),)

        hook = layer.register_forward_pre_hook(rounded)
        layer.weight.data = of_weights(weight * scales, weight_block)
        undo.append((hook, layer, weight))
    return undo


def scores(model, tokenizer, query, texts):
    found = torch.empty(len(texts))
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for first in range(0, len(order), BATCH):
        part = order[first : first + BATCH]
        given = tokenizer([query] * len(part), [texts[i] for i in part], padding=True, truncation="only_second",
                          max_length=MAX_LENGTH, return_tensors="pt")
        found[part] = model(**given).logits[:, 0]
    return found


def main():
    folder, count, most, data = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    torch.set_grad_enabled(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
    queries = [(os.path.basename(d.rstrip("/")), query, texts[:most])
               for d in data for query, _, texts, _ in queries_of(d, count)]
    exact = None
    print("| a step for | data | error | of the ten best |\n| --- | --- | --- | --- |")
    for name, way in WAYS.items():
        undo = round_layers(model, way)
        found = [scores(model, tokenizer, query, texts) for _, query, texts in queries]
        for hook, layer, weight in undo:
            hook.remove()
            layer.weight.data = weight
        exact = exact or found
        for set_name in dict.fromkeys(set_name for set_name, _, _ in queries):
            pairs = [pair for pair, (of, _, _) in zip(zip(found, exact), queries) if of == set_name]
            error = sum(((a - b).std() / b.std()).item() for a, b in pairs) / len(pairs)
            best = lambda x: set(x.topk(BEST).indices.tolist())
            kept = sum(len(best(a) & best(b)) for a, b in pairs) / (BEST * len(pairs))
            print(f"| {name} | {set_name} | {error:.4f} | {kept:.3f} |", flush=True)


main()
