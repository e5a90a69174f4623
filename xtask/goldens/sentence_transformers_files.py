"""Scores of models whose own files say which prompt and head they have, by sentence-transformers (README.md beside this).
usage: sentence_transformers_files.py GOLDENS OUT.json

Each case is a checkpoint of GOLDENS with the files that are written here beside it, and weights that may be changed by
a rule that a test can follow."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer

import texts

PAIRS = [
    ("what is a window", "an opening in a wall"),
    ("what is a window", "cats"),
    ("what is a window", "A grating splits light <into> \"several\" beams & more."),
    ("  how do plants live? ", " two spaces at both ends  "),
    ("how do plants live?", "Plants live from light.\nThey need water, too."),
    ("naïve café 東京", "Zażółć gęślą jaźń, 東京, plain words."),
]

PICK = """{%%- set %s = messages | selectattr("role", "eq", "%s") | map(attribute="content") | first%s -%%}\n"""
QWEN3 = (
    PICK % ("i", "system", f' | default("{texts.QWEN3_INSTRUCTION}")')
    + PICK % ("q", "query", "")
    + PICK % ("d", "document", "")
    + texts.QWEN3_PREFIX
    + "<Instruct>: {{ i }}\n<Query>: {{ q }}\n<Document>: {{ d }}"
    + texts.QWEN3_SUFFIX
    + "\n"  # templates lose their last line break
)
# zerank-2's shape: the query is the system message, the text the user's.
SYSTEM_AND_USER = (
    PICK % ("q", "query", "")
    + PICK % ("d", "document", "")
    + '{{- "<|im_start|>system\n" + q + "<|im_end|>\n<|im_start|>user\n" + d + "<|im_end|>\n<|im_start|>assistant\n" -}}'
)
# ctxl-rerank-v2's shape: the text first, then the query, the instruction and no control token.
TEXT_FIRST = (
    PICK % ("i", "system", ' | default("")')
    + PICK % ("q", "query", "")
    + PICK % ("d", "document", "")
    + '{{- "Check whether a given document contains information helpful to answer the query.\n<Document> " + d'
    + ' + "\n<Query> " + q + i + " ??" -}}'
)
# mxbai-rerank-v2's shape: the task behind the text.
TASK_BEHIND = (
    PICK % ("i", "system", ' | default("")')
    + PICK % ("q", "query", "")
    + PICK % ("d", "document", "")
    + '{{- "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n" -}}'
    + '{{- ("instruction: " + i + "\n" if i else "") + "query: " + q + "\ndocument: " + d -}}'
    + '{{- "\nYou are a search relevance expert. Is it relevant (1) or not (0)?\nRelevance:" -}}'
    + '{{- "<|im_end|>\n<|im_start|>assistant\n" -}}'
)
# As Gemma's: it begins with the token that begins a text.
BEGUN = PICK % ("q", "query", "") + PICK % ("d", "document", "") + '{{- "<bos>A: " + q + "\nB: " + d + "\nIs it so?" -}}'
# Of each family whose class sentence-transformers can load. MiniCPM's and Gemma 2's heads of layers it cannot.
ENCODERS = [
    "xlm-roberta-f32",
    "bert-sentencepiece-f32",
    "modernbert-f32",
    "modernbert-mean-f32",
    "electra-f32",
    "roberta-f32",
    "camembert-f32",
    "distilbert-f32",
    "gte-f32",
    "deberta-v3-f32",
    "deberta-v2-bf16",
]
LONG = [
    (query, (document + " ") * times)
    for query, document in (PAIRS[0], PAIRS[4])
    for times in (4, 9, 40)
]
# Contents as lists of parts, an optional instruction with words around it, and the assistant only where asked for.
STRUCTURED = """{%- for message in messages -%}
{%- if message.role == "system" -%}
<|im_start|>system
Task: {{ message.content[0].text }}<|im_end|>
{% elif message.role == "query" -%}
<|im_start|>user
Q: {{ message.content[0].text }}
{% elif message.role == "document" -%}
D: {{ message.content[0].text }}<|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
LOGIT_SCORE = {
    "idx": 1,
    "name": "1",
    "path": "1_LogitScore",
    "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
}


def settings(prompts=None, default=None, activation="Sigmoid"):
    return {
        "activation_fn": f"torch.nn.modules.{'linear' if activation == 'Identity' else 'activation'}.{activation}",
        "default_prompt_name": default,
        "model_type": "CrossEncoder",
        "prompts": prompts or {},
    }


def message(task, output, format="flat", kwargs=None):
    modalities = {"text": {"method": "forward", "method_output_name": "logits"}}
    modalities["message"] = modalities["text"] | {"format": format}
    config = {"transformer_task": task, "modality_config": modalities, "module_output_name": output}
    return config | ({"processing_kwargs": {"chat_template": kwargs}} if kwargs else {})


def causal(yes, no, template, prompts=None, default=None, **more):
    files = {
        "modules.json": [TRANSFORMER, LOGIT_SCORE],
        "1_LogitScore/config.json": {"true_token_id": yes, "false_token_id": no, "module_input_name": "causal_logits"},
        "config_sentence_transformers.json": settings(prompts, default),
        "sentence_bert_config.json": message("text-generation", "causal_logits", **more),
    }
    name = (more.get("kwargs") or {}).get("chat_template")
    files[f"additional_chat_templates/{name}.jinja" if name else "chat_template.jinja"] = template
    return files


def limit(tokens):
    return {"tokenizer_config.json": {"model_max_length": tokens}}


def cases():
    """Name, checkpoint, files, rule for the weights."""
    yield "lone token", "qwen3-kv-all-f32", causal(257, None, SYSTEM_AND_USER), None
    yield "qwen3-reranker", "qwen3-kv-all-f32", causal(257, 258, QWEN3), None
    yield "qwen3-reranker, tokens of its own", "qwen3-kv1-f16", causal(300, 17, QWEN3), None
    prompts = {"rerank": "Find what the text is about", "other": "no"}
    yield "default prompt", "qwen3-untied-bf16-sharded", causal(257, 258, QWEN3, prompts, "rerank"), None
    kwargs = {"chat_template": "reranker", "add_generation_prompt": True}
    structured = dict(format="structured", kwargs=kwargs)
    yield "named template", "qwen3-tied-f32", causal(257, 258, STRUCTURED, prompts, "rerank", **structured), None
    yield "no instruction", "qwen2-f32", causal(15, 16, STRUCTURED, **structured), None
    classifier = {
        "modules.json": [TRANSFORMER],
        "config_sentence_transformers.json": settings(activation="Identity"),
        "sentence_bert_config.json": message("sequence-classification", "scores"),
        "chat_template.jinja": SYSTEM_AND_USER,
    }
    yield "classifier with a template", "qwen3-score-f32", classifier, None
    pairs = {
        "modules.json": [TRANSFORMER],
        "config_sentence_transformers.json": settings(activation="Identity"),
        "sentence_bert_config.json": {"transformer_task": "sequence-classification", "module_output_name": "scores"},
    }
    yield "encoder", "bert-gelu-f32", pairs, None
    yield "text first", "qwen3-untied-bf16-sharded", causal(0, None, TEXT_FIRST), None
    yield "text first, default prompt", "qwen3-kv-all-f32", causal(0, None, TEXT_FIRST, prompts, "rerank"), None
    yield "task behind the text", "qwen2-bf16-sharded", causal(16, 15, TASK_BEHIND), None
    yield "task behind the text, cut", "qwen2-bf16-sharded", causal(16, 15, TASK_BEHIND) | limit(120), None
    yield "lone token, cut", "qwen3-kv-all-f32", causal(257, None, SYSTEM_AND_USER) | limit(64), None
    for checkpoint in ENCODERS:
        yield f"family of {checkpoint}", checkpoint, pairs | limit(64), None
    for checkpoint in ("gemma-f32", "gemma2-f32"):
        yield f"family of {checkpoint}", checkpoint, causal(300, None, BEGUN) | limit(96), None
    yield "family of gemma2-score-f16", "gemma2-score-f16", classifier | {"chat_template.jinja": BEGUN} | limit(96), None
    for rule in ("lm_head of its own", "lm_head equal", "lm_head alone"):
        yield rule, "qwen3-tied-f32", causal(257, 258, QWEN3), rule


def change_weights(folder, rule):
    """`lm_head of its own`: the embeddings, last row first. `lm_head equal`: a copy. `lm_head alone`: under its name."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    embeddings = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embeddings.flip(0).contiguous() if rule == "lm_head of its own" else embeddings.clone()
    if rule == "lm_head alone":
        del tensors["model.embed_tokens.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def scores(folder, pairs):
    """Raw scores, and what `predict` makes of them by default."""
    # The reference computes in f32 on the stored weights, as in the other goldens.
    model = CrossEncoder(str(folder), local_files_only=True, device="cpu", model_kwargs={"torch_dtype": torch.float32})
    predict = lambda **more: model.predict(pairs, batch_size=1, show_progress_bar=False, **more)
    predicted = predict(activation_fn=torch.nn.Identity()), predict()
    return [[float(f"{score:.9g}") for score in scores] for scores in predicted]


def main():
    goldens, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    results = []
    for name, checkpoint, files, rule in cases():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            shutil.copytree(goldens / checkpoint, folder, ignore=shutil.ignore_patterns("golden.json", "grating.json"))
            if rule:
                change_weights(folder, rule)
            known = Tokenizer.from_file(str(folder / "tokenizer.json"))
            pads = ("<|endoftext|>", "[PAD]", "<pad>")
            pad = next(token for token in pads if known.token_to_id(token) is not None)
            kind = "BertTokenizer" if pad == "[PAD]" else "PreTrainedTokenizerFast"
            kind = "DebertaV2Tokenizer" if "deberta" in checkpoint else kind
            special = {"tokenizer_class": kind, "pad_token": pad, "model_max_length": 512}
            own = folder / "tokenizer_config.json"
            special |= json.loads(own.read_text()) if own.exists() else {}
            cut = files.get("tokenizer_config.json", {})
            files = files | {"tokenizer_config.json": special | cut}
            pairs = PAIRS + LONG if cut else PAIRS
            for path, content in files.items():
                content = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content)
                files[path] = content
            raw, predicted = scores(folder, pairs)
            result = dict(name=name, checkpoint=checkpoint, weights=rule, files=files)
            result |= dict(pairs=pairs) if cut else {}
            result |= dict(scores=raw, predicted=predicted)
        print(name, result["scores"])
        assert max(result["scores"]) - min(result["scores"]) > 0.5, name
        results.append(result)
    out.write_text(json.dumps({"pairs": PAIRS, "cases": results}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
