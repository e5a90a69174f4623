"""Compares `grating rerank` with transformers on a real model, by hand: the models are too large for the repository.

usage: compare_real.py GRATING_BINARY MODEL_DIR DATA_DIR [--queries N] [--candidates N] [--max-length N]
DATA_DIR is BEIR layout with candidates.jsonl. transformers runs in f32 on the stored weights (eager attention), with
user text as plain text. Prints the largest difference of logits, relative to max(1, |logit|), and whether the rankings are the same.
"""
import argparse, json, os, subprocess, sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

QWEN3 = dict(
    prefix='<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. '
           'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    body="<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
    suffix="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    default_instruction="Given a web search query, retrieve relevant passages that answer the query", yes="yes", no="no")


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def decoder(folder, config):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    path = f"{folder}/grating.json"
    t = json.load(open(path))["template"] if os.path.exists(path) else "qwen3-reranker"
    t = QWEN3 if t == "qwen3-reranker" else t
    encode = lambda s, **k: tokenizer.encode(s, add_special_tokens=False, **k)
    prefix, suffix, yes, no = encode(t["prefix"]), encode(t["suffix"]), *(encode(t[a])[0] for a in ("yes", "no"))

    def score(query, document, limit):
        body = t["body"].replace("{instruction}", t["default_instruction"]).replace("{query}", query).replace("{document}", document)
        ids = prefix + encode(body, split_special_tokens=True)[: limit - len(prefix) - len(suffix)] + suffix
        z = model(input_ids=torch.tensor([ids]), logits_to_keep=1).logits[0, -1]
        return (z[yes] - z[no]).item()
    return score


def classifier(folder, config):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
    tokenizer.model_input_names = ["input_ids", "attention_mask"] + (["token_type_ids"] if config.model_type == "bert" else [])
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    def score(query, document, limit):
        x = tokenizer([query], [document], truncation="longest_first", max_length=limit, split_special_tokens=True, return_tensors="pt")
        return model(**x).logits[0, 0].item()
    return score


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary"), parser.add_argument("model"), parser.add_argument("data")
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--max-length", type=int, default=512)
    args = parser.parse_args()
    config = AutoConfig.from_pretrained(args.model)
    score = (decoder if "CausalLM" in config.architectures[0] else classifier)(args.model, config)
    corpus = {d["_id"]: (d.get("title", "") + " " + d["text"]).strip() for d in read(f"{args.data}/corpus.jsonl")}
    queries = {q["_id"]: q["text"] for q in read(f"{args.data}/queries.jsonl")}
    worst, same, scores = 0.0, 0, 0
    pools = read(f"{args.data}/candidates.jsonl")[: args.queries]
    for pool in pools:
        texts = [corpus[c] for c in pool["candidates"][: args.candidates]]
        lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
        command = [args.binary, "rerank", "-q", queries[pool["query"]], "-m", args.model, "-k", str(len(texts)), "--json",
                   "--max-length", str(args.max_length), "--format", "jsonl", "-"]
        out = json.loads(subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout)
        ours = {r["index"]: r["raw_score"] for r in out["results"]}
        with torch.no_grad():
            theirs = [score(queries[pool["query"]], t, args.max_length) for t in texts]
        worst = max([worst] + [abs(ours[i] - z) / max(1, abs(z)) for i, z in enumerate(theirs)])
        order = sorted(range(len(texts)), key=lambda i: (-theirs[i], i))
        same += order == [r["index"] for r in out["results"]]
        scores += len(texts)
    print(f"{os.path.basename(args.model.rstrip('/'))}: {scores} scores, worst relative difference {worst:.1e}, "
          f"{same} of {len(pools)} rankings identical")
    sys.exit(worst > 1e-4)


main()
