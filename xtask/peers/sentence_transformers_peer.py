"""sentence-transformers' CrossEncoder, as its documentation runs it: f32, batch 32."""

import time

from common import DECODER, JOB, STARTED, answer, skip, timed

if DECODER:
    skip("its CrossEncoder needs a checkpoint with a classification head")

import torch
from sentence_transformers import CrossEncoder

torch.set_num_threads(JOB["threads"])
model = CrossEncoder(JOB["model"], max_length=JOB["max_length"], device="cpu", local_files_only=True)
load_s = time.perf_counter() - STARTED


def run():
    pairs = [(JOB["query"], text) for text in JOB["texts"]]
    return model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False).tolist()


answer(load_s, timed(run), ["sentence-transformers", "torch", "transformers"])
