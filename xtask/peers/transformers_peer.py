"""transformers on PyTorch: f32, bf16, bf16 with accelerate's disk offload, dynamic int8."""

import tempfile
import time

from common import BATCH, CONFIG, DECODER, JOB, STARTED, answer, decoder_inputs, pair_batch, skip, timed

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

VARIANT = JOB["variant"]
torch.set_num_threads(JOB["threads"])
dtype = torch.float32 if VARIANT in ("f32", "int8") else torch.bfloat16
kind = AutoModelForCausalLM if DECODER else AutoModelForSequenceClassification
model = kind.from_pretrained(JOB["model"], dtype=dtype, low_cpu_mem_usage=True).eval()
packages = ["torch", "transformers"]
if VARIANT == "offload":
    from accelerate import disk_offload

    folder = tempfile.TemporaryDirectory(dir=JOB["scratch"])
    model = disk_offload(model, folder.name, execution_device=torch.device("cpu"))
    packages.append("accelerate")
elif VARIANT == "int8":
    quantize = getattr(getattr(torch, "ao", None), "quantization", None)
    if quantize is None:
        skip("this release of torch has no dynamic quantization")
    model = quantize.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
load_s = time.perf_counter() - STARTED


def decoder():
    inputs, yes, no = decoder_inputs()
    # Neighbours of similar length share a batch, so that little is padding.
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    scores = [0.0] * len(inputs)
    for start in range(0, len(order), BATCH):
        chunk = order[start : start + BATCH]
        longest = max(len(inputs[i]) for i in chunk)
        ids = torch.tensor([[0] * (longest - len(inputs[i])) + inputs[i] for i in chunk])
        mask = torch.tensor([[0] * (longest - len(inputs[i])) + [1] * len(inputs[i]) for i in chunk])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1,
                use_cache=False,
            ).logits[:, -1, [yes, no]].float()
        for i, (a, b) in zip(chunk, logits.tolist()):
            scores[i] = a - b
    return scores


def encoder():
    texts = JOB["texts"]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    scores = [0.0] * len(texts)
    for start in range(0, len(order), BATCH):
        chunk = order[start : start + BATCH]
        batch = pair_batch(tokenizer, [texts[i] for i in chunk])
        with torch.inference_mode():
            logits = model(**batch).logits[:, 0].float()
        for i, score in zip(chunk, logits.tolist()):
            scores[i] = score
    return scores


if not DECODER:
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])
answer(load_s, timed(decoder if DECODER else encoder), packages)
