"""OpenVINO on the encoder, in f32 or in int8 as its quantizer NNCF makes it (`quantize` for transformers, calibrated on the
job's own texts). Both are made once, in processes of their own, so that the measured process holds nothing but the runtime."""

import json
import os
import subprocess
import sys
import time

from common import BATCH, DECODER, JOB, STARTED, answer, prepared, skip, timed

if DECODER:
    skip("encoders only, as with ONNX Runtime")

CONVERTED = os.path.join(JOB["scratch"], "openvino-f32.xml")
CONVERT = """
import sys, torch, openvino
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="sdpa")
names = ["input_ids", "attention_mask"] + (["token_type_ids"] if sys.argv[3] == "1" else [])
class Logits(torch.nn.Module):
    def __init__(self): super().__init__(); self.model = model
    def forward(self, *inputs): return self.model(**dict(zip(names, inputs))).logits
inputs = (torch.arange(5, 37).reshape(2, 16), torch.ones(2, 16, dtype=torch.long),
          torch.zeros(2, 16, dtype=torch.long))[:len(names)]
with torch.no_grad():
    converted = openvino.convert_model(Logits().eval(), example_input=inputs)
for name, port in zip(names, converted.inputs):
    port.get_tensor().set_names({name})
    port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
converted.validate_nodes_and_infer_types()
# Halves of the weights would be another model than the peers'.
openvino.save_model(converted, sys.argv[2], compress_to_fp16=False)
"""

QUANTIZED = os.path.join(JOB["scratch"], "openvino-int8.xml")
QUANTIZE = """
import json, sys, nncf, openvino
batches = json.load(open(sys.argv[3]))
model = nncf.quantize(openvino.Core().read_model(sys.argv[1]), nncf.Dataset(batches),
                      model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches))
openvino.save_model(model, sys.argv[2], compress_to_fp16=False)
"""
# Texts that the quantizer sees.
SAMPLE = 64


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


TYPES = "1" if "Bert" in json.dumps(json.load(open(os.path.join(JOB["model"], "config.json")))) else "0"
make(CONVERTED, CONVERT, JOB["model"], CONVERTED, TYPES)
RUN = QUANTIZED if JOB["variant"] == "int8" else CONVERTED
if RUN == QUANTIZED and not os.path.exists(QUANTIZED):
    encode = tokenizer()
    first = JOB["requests"][0]
    sample = [batch([encode.encode(first["query"], text)], 0) for text in first["texts"][:SAMPLE]]
    texts = os.path.join(JOB["scratch"], "openvino-sample.json")
    with open(texts, "w") as file:
        json.dump(sample, file)
    make(QUANTIZED, QUANTIZE, CONVERTED, QUANTIZED, texts)
prepared()

import numpy
import openvino

core = openvino.Core()
settings = {"INFERENCE_NUM_THREADS": JOB["threads"], "PERFORMANCE_HINT": "LATENCY"}
# Where the processor has bfloat16, that is the default for what is not quantized: not for f32, and not where oneDNN is held to
# instructions that lack it, for which OpenVINO would find no softmax.
if RUN == CONVERTED or "ONEDNN_MAX_CPU_ISA" in os.environ:
    settings["INFERENCE_PRECISION_HINT"] = "f32"
model = core.compile_model(RUN, "CPU", settings)
TOKENIZER = tokenizer()
PAD = TOKENIZER.token_to_id("<pad>") or 0
load_s = time.perf_counter() - STARTED


def run():
    encoded = [TOKENIZER.encode(JOB["query"], text) for text in JOB["texts"]]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    scores = [0.0] * len(encoded)
    for start in range(0, len(order), BATCH):
        chunk = order[start : start + BATCH]
        inputs = batch([encoded[i] for i in chunk], PAD)
        inputs = {name: numpy.array(rows, dtype=numpy.int64) for name, rows in inputs.items()}
        for i, score in zip(chunk, model(inputs)[0][:, 0].tolist()):
            scores[i] = score
    return scores


answer(load_s, timed(run), ["openvino", "nncf"])
