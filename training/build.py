"""Builds the starting point of the default reranker: a 7-layer cross-encoder that already orders candidates almost as
the sentence encoder all-MiniLM-L6-v2 does with its cosine, before a single step of training.

usage: build.py TEACHER_DIR PAIRS.jsonl OUT_DIR      (about a minute)

Layers 1 to 6 are the encoder's own. One hidden coordinate is freed and carries a marker (+ query, - passage, 0 [CLS]);
in every head the weakest of the 32 query-key components gives way to the product of two markers, so that query and
passage hardly see each other, as in a bi-encoder, and [CLS] reads both. Layer 7 is new: half of its heads average the
query's tokens and half the passage's (189 principal directions each), LayerNorm brings both to one length, and the
feed-forward part forms their dot product: x * y from GELU(u) + GELU(-u), u = x + y and x - y.
The vocabulary loses the [unusedN] entries and Chinese characters, which pays for the seventh layer (48 MB in f16).
"""
import argparse, json, os, random, re

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

SEED = 20261121
MARK = 2.0            # size of the marker after each LayerNorm
BLOCK = 4.0           # attention logit: +BLOCK within a text, -BLOCK across, 0 for [CLS]
RANK = 189            # principal directions that are compared


def trim_tokenizer(folder, out):
    """Writes the tokenizer without [unusedN] and Chinese characters; returns the old ids that stay, in order."""
    spec = json.load(open(f"{folder}/tokenizer.json", encoding="utf-8"))
    old = sorted(spec["model"]["vocab"].items(), key=lambda kv: kv[1])
    keep = [(t, i) for t, i in old if not re.fullmatch(r"\[unused\d+\]|(##)?[\u2e80-\u9fff\uac00-\ud7af]", t)]
    new = {t: i for i, (t, _) in enumerate(keep)}
    spec["model"]["vocab"] = new
    spec["truncation"] = spec["padding"] = None
    for token in spec["added_tokens"]:
        token["id"] = new[token["content"]]
    for token in spec["post_processor"].get("special_tokens", {}).values():
        token["ids"] = [new[t] for t in token["tokens"]]
    for key in ("sep", "cls"):
        if key in spec["post_processor"]:
            spec["post_processor"][key][1] = new[spec["post_processor"][key][0]]
    os.makedirs(out, exist_ok=True)
    json.dump(spec, open(f"{out}/tokenizer.json", "w", encoding="utf-8"), ensure_ascii=False)
    json.dump(dict(tokenizer_class="BertTokenizer", do_lower_case=True, model_max_length=512, cls_token="[CLS]",
                   sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"),
              open(f"{out}/tokenizer_config.json", "w"), indent=1)
    return [i for _, i in keep]


def inputs_of(model, x):
    """The hidden state that enters each layer, flat over real tokens: [layers + 1][tokens, hidden]."""
    states = model(**x, output_hidden_states=True).hidden_states
    return [h[x["attention_mask"].bool()] for h in states]


def free_coordinate(bert, states):
    """The coordinate that the layers make least use of; its mean at each layer is folded into the biases."""
    cost = torch.zeros(bert.config.hidden_size)
    for layer, h in zip(bert.encoder.layer, states):
        a = layer.attention.self
        for w in (a.query.weight, a.key.weight, a.value.weight, layer.intermediate.dense.weight):
            cost += h.std(0) ** 2 * (w ** 2).sum(0) / (w ** 2).sum()
    cost += states[-1].std(0) ** 2 / (states[-1].std(0) ** 2).sum()
    c = int(cost.argmin())
    print(f"marker coordinate {c}: {cost[c] / cost.mean():.2f} of the average use")
    e = bert.embeddings
    for table in (e.word_embeddings, e.position_embeddings, e.token_type_embeddings):
        table.weight[:, c] = 0
    for layer, h in zip(bert.encoder.layer, states):
        a = layer.attention
        for linear in (a.self.query, a.self.key, a.self.value, layer.intermediate.dense):
            linear.bias += linear.weight[:, c] * h[:, c].mean()
            linear.weight[:, c] = 0
        for linear in (a.output.dense, layer.output.dense):
            linear.weight[c] = 0
            linear.bias[c] = 0
    return c


def mark_attention(bert, states, c):
    """Rotates each head's queries and keys so that the weakest component stands last, and puts the markers there."""
    gain = (BLOCK * 32 ** 0.5) ** 0.5 / MARK
    for layer, h in zip(bert.encoder.layer, states):
        q, k = layer.attention.self.query, layer.attention.self.key
        for head in range(12):
            r = slice(32 * head, 32 * head + 32)
            Q, K = (h @ m.weight[r].T + m.bias[r] for m in (q, k))
            eye = 1e-4 * torch.eye(32)
            Lq, Lk = (torch.linalg.cholesky(v.T @ v / len(v) + eye) for v in (Q, K))
            U, S, Vt = torch.linalg.svd(Lq.T @ Lk)
            Tq, Tk = S.rsqrt()[:, None] * (Vt @ Lk.T), S.rsqrt()[:, None] * (U.T @ Lq.T)
            for m, T in ((q, Tq), (k, Tk)):
                m.weight[r], m.bias[r] = T @ m.weight[r], T @ m.bias[r]
                last = 32 * head + 31
                m.weight[last], m.bias[last] = 0, 0
                m.weight[last, c] = gain


def calibrate(bert, x, c, norms):
    """Sets gain and bias of coordinate c of each LayerNorm, first to last, so that the markers are +-MARK."""
    real, types = x["attention_mask"].bool(), x["token_type_ids"]
    for norm in norms:
        norm.weight[c], norm.bias[c] = 1, 0
        seen = []
        hook = norm.register_forward_hook(lambda m, a, y: seen.append(y[..., c]))
        bert(**x)
        hook.remove()
        q, p = (seen[0][real & (types == t)].mean() for t in (0, 1))
        norm.weight[c] = 2 * MARK / (q - p)
        norm.bias[c] = -norm.weight[c] * (q + p) / 2


def comparison_layer(layer, c, basis):
    """Layer 7: mean of the query, mean of the passage, dot product into coordinate 2 * (RANK + 1)."""
    a, n = layer.attention, RANK + 1
    # Coordinates whose sum is zero, so that LayerNorm takes nothing away.
    H = torch.linalg.qr(torch.cat([torch.ones(n, 1), torch.randn(n, RANK)], 1))[0][:, 1:RANK + 1]
    for linear in (a.self.query, a.self.key, a.self.value, a.output.dense, layer.output.dense):
        linear.weight.zero_(), linear.bias.zero_()
    for linear in (a.self.query, a.self.key, layer.intermediate.dense):
        linear.weight.normal_(0, 0.005)
        linear.bias.zero_()
    for head in range(12):
        side = 1 if head < 6 else -1
        a.self.query.weight[32 * head] = 0
        a.self.query.bias[32 * head] = side * 8 * 32 ** 0.5 / MARK
        a.self.key.weight[32 * head] = 0
        a.self.key.weight[32 * head, c] = 1
    for half in (0, 1):
        a.self.value.weight[192 * half:192 * half + RANK] = basis
        a.output.dense.weight[n * half:n * half + n, 192 * half:192 * half + RANK] = 40 * H
    norm = a.output.LayerNorm
    norm.weight.fill_(1), norm.bias.zero_()
    layer.output.LayerNorm.weight.fill_(1), layer.output.LayerNorm.bias.zero_()
    up, down, eps, score = layer.intermediate.dense, layer.output.dense, 0.4, 2 * n
    for i in range(n):
        for j, (outer, inner) in enumerate([(1, 1), (-1, -1), (1, -1), (-1, 1)]):
            row = 4 * i + j
            up.weight[row] = 0
            up.weight[row, i], up.weight[row, n + i] = outer * eps, inner * eps
            down.weight[score, row] = (1 if outer == inner else -1) * 8 / (0.8 * 4 * eps ** 2 * 192)
    return score


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "pairs", "out"):
        parser.add_argument(name)
    args = parser.parse_args()
    random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED), torch.set_grad_enabled(False)

    kept = trim_tokenizer(args.teacher, args.out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.out)
    encoder = BertModel.from_pretrained(args.teacher).float().eval()
    config = BertConfig.from_pretrained(args.teacher)
    config.update(dict(num_hidden_layers=7, num_labels=1, vocab_size=len(kept),
                       architectures=["BertForSequenceClassification"], id2label={0: "relevance"},
                       label2id={"relevance": 0}))
    model = BertForSequenceClassification(config).eval()
    state = encoder.state_dict()
    state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"][kept]
    state = {k: v for k, v in state.items() if not k.startswith("pooler")}
    model.bert.load_state_dict(state, strict=False)
    bert = model.bert

    pairs = random.sample([json.loads(line) for line in open(args.pairs, encoding="utf-8")], 400)
    def batch(rows):
        return tokenizer([p["query"] for p in rows], [p["passage"] for p in rows], padding=True, truncation=True,
                         max_length=128, return_token_type_ids=True, return_tensors="pt")
    alone = tokenizer([p[k] for p in pairs for k in ("query", "passage")], padding=True, truncation=True,
                      max_length=128, return_token_type_ids=True, return_tensors="pt")
    alone.pop("token_type_ids", None)
    full = BertModel(BertConfig(**{**config.to_dict(), "num_hidden_layers": 6}))
    full.load_state_dict(state, strict=False)
    full.eval()
    states = inputs_of(full, alone)
    last = full(**alone).last_hidden_state
    mask = alone["attention_mask"][..., None]
    pooled = torch.nn.functional.normalize((last * mask).sum(1) / mask.sum(1), dim=1)

    # Compare in the encoder's six layers only; layer 7 is set apart below.
    seventh = bert.encoder.layer[6]
    bert.encoder.layer = bert.encoder.layer[:6]
    c = free_coordinate(bert, states[:6] + [states[-1]])
    e = bert.embeddings
    e.token_type_embeddings.weight[1] = e.token_type_embeddings.weight[0]
    size = e.word_embeddings.weight.std()
    e.token_type_embeddings.weight[0, c], e.token_type_embeddings.weight[1, c] = 2 * size, -2 * size
    e.word_embeddings.weight[tokenizer.cls_token_id, c] = -2 * size
    mark_attention(bert, states[:6], c)
    norms = [e.LayerNorm] + [n for l in bert.encoder.layer for n in (l.attention.output.LayerNorm, l.output.LayerNorm)]
    calibrate(bert, batch(pairs[:64]), c, norms)
    bert.encoder.layer.append(seventh)

    pooled[:, c] = 0
    basis = torch.linalg.svd(pooled, full_matrices=False)[2]
    basis = basis[:RANK]
    basis[:, c] = 0
    score = comparison_layer(seventh, c, basis)
    dense, classifier = bert.pooler.dense, model.classifier
    dense.weight.normal_(0, 0.02), dense.bias.zero_(), classifier.bias.zero_()
    classifier.weight.normal_(0, 0.001)
    dense.weight[:32], dense.bias[:32] = dense.weight[:32] * 0.05, -0.25 * 3.0
    dense.weight[:32, score] = 0.25
    classifier.weight[:, :32] = 8 / 32
    model.save_pretrained(args.out)
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(kept)} tokens, {size} parameters, {2 * size / 1e6:.1f} MB in f16")


main()
