"""Trains the default reranker: a 6-layer cross-encoder from all-MiniLM-L6-v2, distilled from the same model used as a
bi-encoder, from BM25 and from what is known to be right, with one head applied after every layer.

usage: train.py MINED_DIR TEACHER_DIR OUT_DIR [--until HH:MM] [--resume]
"""
import argparse, datetime, json, math, random, time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertForSequenceClassification

SEED = 20261121
LISTS = 6                                       # lists of eight pairs in a step
MAX_TOKENS = 192
LAYER_WEIGHTS = [0.2, 0.5, 0.7, 0.8, 0.9, 1.2]
LEXICAL, RIGHT = 0.3, 0.1                       # added to the cosine: BM25's share, and for a passage known to be right
SCALE, ZERO = 20.0, 0.4                         # logit = SCALE * (target - ZERO)
DEV = 48                                        # lists


def layer_scores(model, ids, types, lengths):
    """[layers, batch] logits: pooler and classifier on the first token after each layer. ids and types are all texts'
    tokens in one row, without padding; only attention sees padded sequences. The last layer computes [CLS] alone."""
    bert, heads = model.bert, model.config.num_attention_heads
    B, L = len(lengths), int(lengths.max())
    real = torch.arange(L)[None] < lengths[:, None]
    at = real.view(-1).nonzero().squeeze(1)
    first = lengths.cumsum(0) - lengths
    mask = torch.zeros(B, 1, 1, L).masked_fill(~real[:, None, None], -1e4)
    e = bert.embeddings
    h = e.word_embeddings(ids) + e.token_type_embeddings(types) + e.position_embeddings(at % L)
    h = e.LayerNorm(h)
    split = lambda t, n: t.view(B, n, heads, -1).transpose(1, 2)
    padded = lambda t: torch.zeros(B * L, t.shape[1]).index_copy(0, at, t)
    scores = []
    for number, layer in enumerate(bert.encoder.layer):
        s, last = layer.attention.self, number + 1 == len(bert.encoder.layer)
        k, v = split(padded(s.key(h)), L), split(padded(s.value(h)), L)
        if last:
            h = h[first]
            q = split(s.query(h), 1)
        else:
            q = split(padded(s.query(h)), L)
        p = F.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask, dim=-1)
        mixed = (p @ v).transpose(1, 2).reshape(-1, h.shape[1])
        a = layer.attention.output
        h = a.LayerNorm(a.dense(mixed if last else mixed[at]) + h)
        h = layer.output.LayerNorm(layer.output.dense(F.gelu(layer.intermediate.dense(h))) + h)
        scores.append(model.classifier(torch.tanh(bert.pooler.dense(h if last else h[first]))).squeeze(1))
    return torch.stack(scores)


class Lists:
    """The training lists as token ids: query and passages apart, joined on use."""

    def __init__(self, folder, tokenizer):
        texts = json.load(open(f"{folder}/lists.json", encoding="utf-8"))
        encode = lambda texts, most: tokenizer(texts, add_special_tokens=False, truncation=True, max_length=most)["input_ids"]
        self.passages, self.queries = encode(texts["passages"], MAX_TOKENS - 32), encode(texts["queries"], 29)
        data = np.load(f"{folder}/lists.npz")
        self.chosen = data["passages"]
        self.target = SCALE * (data["cosine"] + LEXICAL * data["bm25"] + RIGHT * data["right"] - ZERO)
        self.right = data["right"]
        self.cls, self.sep = tokenizer.cls_token_id, tokenizer.sep_token_id

    def size(self, i):
        return max(len(self.passages[p]) for p in self.chosen[i])

    def batch(self, rows):
        ids, types, lengths = [], [], []
        for i in rows:
            q = [self.cls, *self.queries[i], self.sep]
            for p in self.chosen[i]:
                d = [*self.passages[p], self.sep]
                ids += q + d
                types += [0] * len(q) + [1] * len(d)
                lengths.append(len(q) + len(d))
        return (torch.tensor(ids), torch.tensor(types), torch.tensor(lengths)), torch.tensor(self.target[rows]).float()


def loss_of(model, lists, rows):
    x, target = lists.batch(rows)
    scores = layer_scores(model, *x).view(-1, *target.shape)
    wanted = F.softmax(target, dim=1)
    centred = target - target.mean(1, keepdim=True)
    loss = 0.0
    for weight, s in zip(LAYER_WEIGHTS, scores):
        listwise = (wanted * (F.log_softmax(target, dim=1) - F.log_softmax(s, dim=1))).sum(1).mean()
        margins = F.smooth_l1_loss(s - s.mean(1, keepdim=True), centred)
        level = F.smooth_l1_loss(s.mean(1), target.mean(1))
        loss = loss + weight * (listwise + 0.3 * margins + 0.05 * level)
    best = target.argmax(1)
    return loss, [(s.argmax(1) == best).float().mean().item() for s in scores]


def gradients(model, parameters, lists, rows):
    """Loss, how often each layer puts the best first, and gradients, over a part of a step's lists."""
    torch.set_num_threads(1)
    loss, right = loss_of(model, lists, rows)
    return loss.item(), right, torch.autograd.grad(loss, parameters)


def epoch(lists, rows):
    """Batches of lists of like length, in random order, over all rows."""
    rows = random.sample(rows, len(rows))
    batches = []
    for start in range(0, len(rows), 32 * LISTS):
        window = sorted(rows[start:start + 32 * LISTS], key=lists.size)
        part = [window[i:i + LISTS] for i in range(0, len(window), LISTS)]
        random.shuffle(part)
        batches += part
    return batches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mined", "teacher", "out"):
        parser.add_argument(name)
    parser.add_argument("--until", help="end by this time of day (UTC): the learning rate falls to zero by then")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED), torch.set_num_threads(args.threads)
    # A thread per part of a step: on a machine that is shared they wait for each other once in a step, not at every product.
    pool = ThreadPoolExecutor(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.teacher)
    lists = Lists(args.mined, tokenizer)
    rows = random.sample(range(len(lists.chosen)), len(lists.chosen))
    dev, rows = sorted(rows[:DEV], key=lists.size), rows[DEV:]
    batches = [b for _ in range(args.epochs) for b in epoch(lists, rows)]
    model = BertForSequenceClassification.from_pretrained(args.out if args.resume else args.teacher, num_labels=1).train()
    # Word embeddings stay: the training texts hold a part of the vocabulary only.
    model.bert.embeddings.requires_grad_(False)
    head = [p for n, p in model.named_parameters() if n.startswith(("classifier", "bert.pooler"))]
    body = [p for n, p in model.named_parameters() if n.startswith("bert.encoder")]
    parameters = body + head
    optimizer = torch.optim.AdamW([dict(params=body, lr=args.lr), dict(params=head, lr=3 * args.lr)], weight_decay=0.01)
    rates = [g["lr"] for g in optimizer.param_groups]
    step, spent = 0, 0.0
    if args.resume:
        state = torch.load(f"{args.out}/state.pt")
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    started = time.time() - spent
    end = math.inf                                  # seconds of training
    if args.until:
        now, (h, m) = datetime.datetime.now(datetime.timezone.utc), map(int, args.until.split(":"))
        end = (now.replace(hour=h, minute=m, second=0) - now).total_seconds() + time.time() - started
    done, mean, hits = step / len(batches), None, None
    while done < 1:
        done = max(step / len(batches), (time.time() - started) / end)
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * min(1, (step + 1) / 100) * max(0.0, 1 - done)
        rows = batches[step]
        parts = [rows[i::args.threads] for i in range(args.threads)]
        parts = list(pool.map(lambda part: gradients(model, parameters, lists, part), parts))
        for parameter, *grads in zip(parameters, *(g for _, _, g in parts)):
            parameter.grad = sum(grads) / len(grads)
        loss, right = np.mean([l for l, _, _ in parts]), np.mean([r for _, r, _ in parts], 0)
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        step += 1
        mean = loss if mean is None else 0.98 * mean + 0.02 * loss
        hits = right if hits is None else 0.98 * hits + 0.02 * right
        if step % 25 == 0:
            print(f"step {step}/{len(batches)} loss {mean:.3f} first right by layer {' '.join(f'{h:.2f}' for h in hits)} "
                  f"done {done:.3f} {time.time() - started:.0f} s", flush=True)
        if step % 200 == 0 or done >= 1:
            with torch.no_grad():
                parts = [loss_of(model, lists, dev[i:i + LISTS]) for i in range(0, DEV, LISTS)]
            print(f"dev loss {np.mean([l.item() for l, _ in parts]):.3f} first right by layer "
                  f"{' '.join(f'{h:.2f}' for h in np.mean([r for _, r in parts], 0))}", flush=True)
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)
            torch.save(dict(optimizer=optimizer.state_dict(), step=step, spent=time.time() - started), f"{args.out}/state.pt")


main()
