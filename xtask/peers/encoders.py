"""What peers share that run an export of an encoder: files that are made once, in processes of their own, so that the measured
process holds nothing but the runtime; inputs, padded batch by batch; and scores."""

import os
import subprocess
import sys

from common import BATCH, CONFIG, JOB, skip

# Whether the model takes types of tokens.
TYPES = "1" if CONFIG["architectures"][0].startswith("Bert") else "0"


def make(path, program, *arguments):
    """Runs a program that makes a file, unless it is there."""
    if os.path.exists(path):
        return
    made = subprocess.run([sys.executable, "-c", program, *arguments],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        skip(f"making {os.path.basename(path)} failed: " + made.stderr.strip().splitlines()[-1])


def tokenizer():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(JOB["model"], "tokenizer.json"))
    tokenizer.enable_truncation(JOB["max_length"], strategy="only_second")
    tokenizer.no_padding()
    return tokenizer


def batch(encoded, pad_id):
    """The model's inputs, padded to the longest."""
    longest = max(len(e.ids) for e in encoded)
    pad = lambda values, fill: values + [fill] * (longest - len(values))
    inputs = {
        "input_ids": [pad(e.ids, pad_id) for e in encoded],
        "attention_mask": [pad(e.attention_mask, 0) for e in encoded],
    }
    if TYPES == "1":
        inputs["token_type_ids"] = [pad(e.type_ids, 0) for e in encoded]
    return inputs


def scores(tokenizer, logits):
    """A score for each text of the request, texts of like length together; `logits` runs the model on a batch's inputs."""
    import numpy

    pad_id = tokenizer.token_to_id("<pad>") or 0
    encoded = [tokenizer.encode(JOB["query"], text) for text in JOB["texts"]]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    scores = [0.0] * len(encoded)
    for start in range(0, len(order), BATCH):
        chunk = order[start : start + BATCH]
        inputs = batch([encoded[i] for i in chunk], pad_id)
        inputs = {name: numpy.array(rows, dtype=numpy.int64) for name, rows in inputs.items()}
        for i, score in zip(chunk, logits(inputs)[:, 0].tolist()):
            scores[i] = score
    return scores
