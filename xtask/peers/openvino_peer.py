"""OpenVINO on the encoder, in f32 or in int8 as its quantizer NNCF makes it (`quantize` for transformers, calibrated on the
job's own texts). Both are made once, in processes of their own, so that the measured process holds nothing but the runtime."""

import json
import os
import time

from common import DECODER, JOB, STARTED, answer, prepared, skip, timed
from encoders import TYPES, batch, make, scores, tokenizer

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

import openvino

core = openvino.Core()
settings = {"INFERENCE_NUM_THREADS": JOB["threads"], "PERFORMANCE_HINT": "LATENCY"}
# Where the processor has bfloat16, that is the default for what is not quantized: not for f32, and not where oneDNN is held to
# instructions that lack it, for which OpenVINO would find no softmax.
if RUN == CONVERTED or "ONEDNN_MAX_CPU_ISA" in os.environ:
    settings["INFERENCE_PRECISION_HINT"] = "f32"
model = core.compile_model(RUN, "CPU", settings)
TOKENIZER = tokenizer()
load_s = time.perf_counter() - STARTED


def run():
    return scores(TOKENIZER, lambda inputs: model(inputs)[0])


answer(load_s, timed(run), ["openvino", "nncf"])
