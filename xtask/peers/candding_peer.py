"""candding: rerankers on candle, with weights in f32. It knows models by their names on the hub, so the checkpoint goes
by the name of the model that has its shape."""

import os
import tempfile
import time

from common import BATCH, CONFIG, JOB, STARTED, answer, skip, timed

# Architecture, hidden size and layers of the models in its catalog that have these shapes.
NAMES = {
    ("BertForSequenceClassification", 384, 6): "cross-encoder/ms-marco-MiniLM-L6-v2",
    ("XLMRobertaForSequenceClassification", 1024, 24): "BAAI/bge-reranker-v2-m3",
    ("Qwen3ForCausalLM", 1024, 28): "Qwen/Qwen3-Reranker-0.6B",
}
shape = CONFIG["architectures"][0], CONFIG["hidden_size"], CONFIG["num_hidden_layers"]
name = NAMES.get(shape)
if name is None:
    skip("no model of this shape runs on the processor there")

home = tempfile.TemporaryDirectory(dir=JOB["scratch"])
revision = "0" * 40
folder = os.path.join(home.name, "hub", "models--" + name.replace("/", "--"))
snapshot = os.path.join(folder, "snapshots", revision)
os.makedirs(snapshot)
os.makedirs(os.path.join(folder, "refs"))
with open(os.path.join(folder, "refs", "main"), "w") as main:
    main.write(revision)
for file in os.listdir(JOB["model"]):
    os.symlink(os.path.abspath(os.path.join(JOB["model"], file)), os.path.join(snapshot, file))
os.environ["HF_HOME"] = home.name
os.environ["HF_HUB_CACHE"] = os.path.join(home.name, "hub")

import candding

model = candding.TextCrossEncoder(
    name, device="cpu", dtype="f32", max_length=JOB["max_length"], batch_size=BATCH, revision="main"
)
load_s = time.perf_counter() - STARTED


def ranked():
    """Scores in the order of the texts; it gives pairs of number and score, best first."""
    return [score for _, score in sorted(model.rerank(JOB["query"], JOB["texts"]))]


answer(load_s, timed(ranked), ["candding"])
