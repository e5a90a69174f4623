"""What every peer shares: the job, the prompt, the clock and the answer.

A job arrives as JSON on standard input:
  model       folder of the checkpoint
  requests    what is asked, each with a query and its texts
  max_length  most tokens of a candidate with its template
  threads     threads that may compute
  runs        timed runs of each request at most
  enough_s    seconds after which a request is not run again
  variant     which way of running, where the peer has several
  processor_time  whether seconds are the process's own on all processors, not those of a clock on the wall
  scratch     a folder for files that the peer makes
  prepare     whether to make those files and end, so that making them is not measured
The answer goes to standard output as JSON: load_s, requests (each with seconds, one a run, and scores, one
a text, higher is more relevant, logits where the peer gives them), versions, and note. An answer with
`skip` alone says why the peer cannot do the job.

While a request runs, JOB holds its query and its texts.
"""

import json
import os
import sys
import time

JOB = json.load(sys.stdin)
os.environ["TOKENIZERS_PARALLELISM"] = str(JOB["threads"] > 1).lower()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(JOB["threads"])
os.environ["HF_HUB_OFFLINE"] = "1"

# Candidates that go through a model together; 4 needs the least memory at full speed.
BATCH = 4

STARTED = time.perf_counter()
CONFIG = json.load(open(os.path.join(JOB["model"], "config.json")))
DECODER = CONFIG["architectures"][0].endswith("ForCausalLM")

# The prompt of Qwen3-Reranker's model card; a grating.json beside the weights replaces it.
TEMPLATE = {
    "prefix": "<|im_start|>system\nJudge whether the Document meets the requirements based on the "
    "Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\"."
    "<|im_end|>\n<|im_start|>user\n",
    "body": "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
    "suffix": "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "default_instruction": "Given a web search query, retrieve relevant passages that answer the query",
    "yes": "yes",
    "no": "no",
}


def skip(reason):
    """Ends the program with the reason why it cannot do the job."""
    print(json.dumps({"skip": reason}))
    sys.exit(0)


def prepared():
    """Ends the program where only the preparation was asked for."""
    if JOB["prepare"]:
        skip("prepared")


def template():
    path = os.path.join(JOB["model"], "grating.json")
    template = json.load(open(path))["template"] if os.path.exists(path) else TEMPLATE
    return TEMPLATE if template == "qwen3-reranker" else template


def decoder_inputs(request=JOB):
    """Token ids of every text of a request, and the ids of the two answers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(JOB["model"], "tokenizer.json"))
    parts = template()
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    prefix, suffix = ids(parts["prefix"]), ids(parts["suffix"])
    room = JOB["max_length"] - len(prefix) - len(suffix)

    def one(text):
        body = parts["body"].replace("{instruction}", parts["default_instruction"])
        body = body.replace("{query}", request["query"]).replace("{document}", text)
        return prefix + ids(body)[:room] + suffix

    return [one(text) for text in request["texts"]], tokenizer.token_to_id(parts["yes"]), tokenizer.token_to_id(parts["no"])


def pair_batch(tokenizer, texts):
    """A padded batch of query and text as PyTorch tensors."""
    return tokenizer(
        [JOB["query"]] * len(texts), texts, truncation="only_second",
        max_length=JOB["max_length"], padding=True, return_tensors="pt",
    )


def timed(run, prepare=lambda: None):
    """Calls `run` for one batch to warm up and then for each request as often as the job says; what it took and the last scores."""
    first = JOB["requests"][0]
    JOB.update(query=first["query"], texts=first["texts"][:BATCH])
    prepare()
    run()
    return [timed_one(request, run, prepare) for request in JOB["requests"]]


def timed_one(request, run, prepare):
    JOB.update(request)
    clock = time.process_time if JOB.get("processor_time") else time.perf_counter
    seconds = []
    while len(seconds) < JOB["runs"] and sum(seconds) < JOB["enough_s"]:
        prepare()
        start = clock()
        scores = run()
        seconds.append(clock() - start)
    return {"seconds": seconds, "scores": [float(score) for score in scores]}


def answer(load_s, requests, packages, note=None):
    """Prints the answer."""
    from importlib.metadata import version

    versions = {package: version(package) for package in packages}
    print(json.dumps({"load_s": load_s, "requests": requests, "versions": versions, "note": note}))
