"""ONNX Runtime on an export of the encoder, in f32 or as `quantize_dynamic` makes int8 of it. Both are made once, in
processes of their own, so that the measured process holds nothing but the runtime."""

import os
import time

from common import DECODER, JOB, STARTED, answer, prepared, skip, timed
from encoders import TYPES, make, scores, tokenizer

if DECODER:
    skip("encoders only: an export of a decoder of this size does not fit into one ONNX file")

EXPORTED = os.path.join(JOB["scratch"], "model.onnx")
EXPORT = """
import sys, torch
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
names = ["input_ids", "attention_mask"] + (["token_type_ids"] if sys.argv[3] == "1" else [])
class Logits(torch.nn.Module):
    def __init__(self): super().__init__(); self.model = model
    def forward(self, *inputs): return self.model(**dict(zip(names, inputs))).logits
# Different tensors: the export would take one that occurs twice for one input.
inputs = (torch.arange(5, 37).reshape(2, 16), torch.ones(2, 16, dtype=torch.long),
          torch.zeros(2, 16, dtype=torch.long))[:len(names)]
axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
torch.onnx.export(Logits().eval(), inputs, sys.argv[2], input_names=names,
                  output_names=["logits"], dynamo=True, external_data=True,
                  dynamic_shapes=(tuple(axes for _ in names),))
"""

QUANTIZED = os.path.join(JOB["scratch"], "model-int8.onnx")
QUANTIZE = """
import sys, onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
model = onnx.load(sys.argv[1])
# The export notes shapes that quantizing changes, and is refused for it.
del model.graph.value_info[:]
quantize_dynamic(model, sys.argv[2], weight_type=QuantType.QInt8)
"""


make(EXPORTED, EXPORT, JOB["model"], EXPORTED, TYPES)
RUN = QUANTIZED if JOB["variant"] == "int8" else EXPORTED
if RUN == QUANTIZED:
    make(QUANTIZED, QUANTIZE, EXPORTED, QUANTIZED)
prepared()

import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = JOB["threads"]
session = onnxruntime.InferenceSession(RUN, options, providers=["CPUExecutionProvider"])
TOKENIZER = tokenizer()
load_s = time.perf_counter() - STARTED


def run():
    return scores(TOKENIZER, lambda inputs: session.run(["logits"], inputs)[0])


answer(load_s, timed(run), ["onnxruntime"])
