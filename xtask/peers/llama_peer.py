"""llama.cpp on a GGUF conversion: last-token embeddings and the two answers' rows, four candidates a batch.

The conversion runs in a process of its own; it keeps matrices as bf16, q8_0 or q4_0. The vocabulary is made
up, because token ids come from the checkpoint's own tokenizer."""

import os
import subprocess
import sys
import time

from common import BATCH, CONFIG, DECODER, JOB, STARTED, answer, decoder_inputs, prepared, skip, timed

if not DECODER:
    skip("decoders only: this peer converts no encoders")
if CONFIG["model_type"] != "qwen3":
    skip("this peer converts the Qwen3 architecture only")

VARIANT = JOB["variant"]
FILE = os.path.join(JOB["scratch"], VARIANT + ".gguf")

if not os.path.exists(FILE):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "to_gguf.py")
    made = subprocess.run([sys.executable, script, JOB["model"], FILE, VARIANT],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        skip("the conversion failed: " + made.stderr.strip().splitlines()[-1])
prepared()

import numpy
from llama_cpp import llama_cpp as lib


def head_rows(yes, no):
    """The rows of the two answers in the output matrix, as f32."""
    import json
    from safetensors import safe_open

    name = "model.embed_tokens.weight" if CONFIG.get("tie_word_embeddings") else "lm_head.weight"
    index = os.path.join(JOB["model"], "model.safetensors.index.json")
    shard = json.load(open(index))["weight_map"][name] if os.path.exists(index) else "model.safetensors"
    with safe_open(os.path.join(JOB["model"], shard), "pt") as tensors:
        rows = tensors.get_slice(name)
        return [rows[i : i + 1].float().numpy()[0] for i in (yes, no)]


asked = [decoder_inputs(request) for request in JOB["requests"]]
difference = numpy.subtract(*head_rows(*asked[0][1:]))
longest = max(len(ids) for inputs, _, _ in asked for ids in inputs)

@lib.llama_log_callback
def quiet(level, text, data):
    pass

lib.llama_log_set(quiet, None)
lib.llama_backend_init()
model = lib.llama_model_load_from_file(FILE.encode(), lib.llama_model_default_params())
params = lib.llama_context_default_params()
params.n_ctx = params.n_batch = params.n_ubatch = longest * BATCH
params.n_seq_max = BATCH
params.n_threads = params.n_threads_batch = JOB["threads"]
params.embeddings = True
params.pooling_type = lib.LLAMA_POOLING_TYPE_LAST
params.kv_unified = True
context = lib.llama_init_from_model(model, params)
if not context:
    skip("llama.cpp could not make a context")
batch = lib.llama_batch_init(longest * BATCH, 0, 1)
load_s = time.perf_counter() - STARTED


def run():
    inputs, _, _ = decoder_inputs()
    scores = []
    for start in range(0, len(inputs), BATCH):
        group = inputs[start : start + BATCH]
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        n = 0
        for sequence, ids in enumerate(group):
            for position, token in enumerate(ids):
                batch.token[n], batch.pos[n] = token, position
                batch.n_seq_id[n], batch.seq_id[n][0] = 1, sequence
                batch.logits[n] = int(position == len(ids) - 1)
                n += 1
        batch.n_tokens = n
        if lib.llama_decode(context, batch) != 0:
            skip("llama.cpp failed to decode a batch")
        for sequence in range(len(group)):
            pointer = lib.llama_get_embeddings_seq(context, sequence)
            state = numpy.ctypeslib.as_array(pointer, shape=(CONFIG["hidden_size"],))
            scores.append(float(state @ difference))
    return scores


answer(load_s, timed(run), ["llama-cpp-python"])
