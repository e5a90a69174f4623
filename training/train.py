"""Trains the default reranker: a 6-layer cross-encoder from all-MiniLM-L6-v2, distilled from two bi-encoders, BM25 and what is
known to be right, with one head applied after every layer. On a GPU in bf16, else on the CPU.

usage: train.py TEXTS.json LISTS.npz MINILM_DIR OUT_DIR [--steps N] [--device cuda|cpu]
"""
import argparse, collections, json, math, random, time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertForSequenceClassification

SEED = 5
LAYER_WEIGHTS = [0.15, 0.4, 0.6, 0.8, 0.9, 1.6]
COSINE, E5, LEXICAL, RIGHT = 0.45, 0.55, 0.2, 0.08      # weights in the target
SCALE, ZERO = 20.0, 0.4                                 # logit = SCALE * (target - ZERO)
MARGINS, LEVEL = 0.3, 0.05                              # beside the listwise loss
PASSAGE, QUERY = 224, 30                                # most tokens
TOKENS = dict(cuda=196_608, cpu=6_000)                  # in a step, padding included
WINDOW = 8192                                           # lists that are sorted by length at a time
WARM_UP, LEAST = 200, 0.02                              # steps; share of the learning rate at the end
DEVELOPMENT = 256                                       # lists that are not trained on


def targets(scores):
    """[lists, 16] logits from the teachers' scores. e5's cosines, all near 0.8, are put on the scale of MiniLM's."""
    cosine, e5, lexical, right = np.moveaxis(scores, 2, 0)
    scale = cosine.std(1).mean() / e5.std(1).mean()
    e5 = (e5 - e5.mean()) * scale + cosine.mean()
    return SCALE * (COSINE * cosine + E5 * e5 + LEXICAL * lexical + RIGHT * right - ZERO)


class Lists:
    """Queries and passages as token ids, joined on use."""

    def __init__(self, texts, path, tokenizer):
        texts, lists = json.load(open(texts, encoding="utf-8")), np.load(path)
        encode = lambda texts, most: tokenizer(texts, add_special_tokens=False, truncation=True, max_length=most)["input_ids"]
        self.queries, self.passages = encode(texts["queries"], QUERY), encode(texts["passages"], PASSAGE)
        self.query, self.chosen, self.target = lists["queries"], lists["passages"], targets(lists["scores"])
        self.begin, self.end = tokenizer.cls_token_id, tokenizer.sep_token_id
        longest = [max(len(self.passages[p]) for p in row) for row in self.chosen]
        self.tokens = np.array([len(self.queries[q]) + long + 3 for q, long in zip(self.query, longest)])

    def batch(self, rows):
        """input_ids, token_type_ids, attention_mask [pairs, tokens] and target [lists, 16]."""
        pairs, longest = len(rows) * self.chosen.shape[1], int(self.tokens[rows].max())
        ids, types, mask = (np.zeros((pairs, longest), np.int64) for _ in range(3))
        at = 0
        for row in rows:
            query = [self.begin, *self.queries[self.query[row]], self.end]
            for passage in self.chosen[row]:
                both = [*query, *self.passages[passage], self.end]
                ids[at, : len(both)] = both
                types[at, len(query): len(both)] = 1
                mask[at, : len(both)] = 1
                at += 1
        return *(torch.from_numpy(a) for a in (ids, types, mask)), torch.from_numpy(self.target[rows]).float()

    def batches(self, rows, tokens):
        """Rows of lists of like length, as many as the tokens allow, in random order, for ever."""
        while True:
            shuffled = np.random.permutation(rows)
            for start in range(0, len(shuffled), WINDOW):
                window = shuffled[start:start + WINDOW]
                window = window[np.argsort(self.tokens[window], kind="stable")]
                parts, part = [], []
                for row in window:
                    if part and self.tokens[row] * self.chosen.shape[1] * (len(part) + 1) > tokens:
                        parts.append(part)
                        part = []
                    part.append(row)
                parts.append(part)
                random.shuffle(parts)
                yield from map(np.array, parts)


def student(folder):
    """The bi-encoder's layers under a pooler that begins near the identity, and a small classifier."""
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=1, hidden_dropout_prob=0.0,
                                                          attention_probs_dropout_prob=0.0)
    generator, size = torch.Generator().manual_seed(1), model.config.hidden_size
    pooler, classifier = model.bert.pooler.dense, model.classifier
    with torch.no_grad():
        pooler.weight.copy_(torch.eye(size) + 0.02 * torch.randn(size, size, generator=generator))
        classifier.weight.copy_(0.02 * torch.randn(1, size, generator=generator))
        pooler.bias.zero_(), classifier.bias.zero_()
    return model.train()


def layer_scores(model, ids, types, mask):
    """[layers, pairs] logits: pooler and classifier on the first token after each layer."""
    out = model.bert(input_ids=ids, token_type_ids=types, attention_mask=mask, output_hidden_states=True)
    return torch.stack([model.classifier(model.bert.pooler(h)).squeeze(1).float() for h in out.hidden_states[1:]])


def loss_of(model, batch, device):
    """The loss, and how often each layer puts the target's best passage first."""
    ids, types, mask, target = (t.to(device, non_blocking=True) for t in batch)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        scores = layer_scores(model, ids, types, mask).view(-1, *target.shape)
    wanted, centred, loss = F.log_softmax(target, 1), target - target.mean(1, keepdim=True), 0.0
    for weight, found in zip(LAYER_WEIGHTS, scores):
        listwise = (wanted.exp() * (wanted - F.log_softmax(found, 1))).sum(1).mean()
        margins = F.smooth_l1_loss(found - found.mean(1, keepdim=True), centred)
        level = F.smooth_l1_loss(found.mean(1), target.mean(1))
        loss = loss + weight * (listwise + MARGINS * margins + LEVEL * level)
    return loss, (scores.argmax(2) == target.argmax(1)).float().mean(1)


def optimizer_of(model, rate, device):
    """Embeddings learn slower than layers, the head faster."""
    named = list(model.named_parameters())
    groups = [(1.0, [p for n, p in named if ".encoder." in n]), (0.2, [p for n, p in named if ".embeddings." in n]),
              (2.0, [p for n, p in named if ".pooler." in n or n.startswith("classifier")])]
    groups = [dict(params=parameters, lr=factor * rate, at_first=factor * rate) for factor, parameters in groups]
    return torch.optim.AdamW(groups, weight_decay=0.01, fused=device == "cuda")


def prepared(lists, rows, device, workers):
    """Batches that threads put together while the device computes."""
    order = lists.batches(rows, TOKENS[device])
    pin = (lambda batch: [t.pin_memory() for t in batch]) if device == "cuda" else list
    make = lambda rows: pin(lists.batch(rows))
    with ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(make, next(order)) for _ in range(2 * workers))
        while True:
            yield waiting.popleft().result()
            waiting.append(pool.submit(make, next(order)))


def train(model, lists, args):
    development = min(DEVELOPMENT, len(lists.query) // 10)
    rows = np.arange(len(lists.query))
    optimizer, started, pairs = optimizer_of(model, args.lr, args.device), time.time(), 0
    batches = prepared(lists, rows[development:], args.device, args.workers)
    for step in range(args.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for group in optimizer.param_groups:
            group["lr"] = group["at_first"] * min(1, (step + 1) / WARM_UP) * (LEAST + (1 - LEAST) * cosine)
        batch = next(batches)
        loss, hits = loss_of(model, batch, args.device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        pairs += len(batch[0])
        if (step + 1) % args.report == 0:
            print(f"step {step + 1} of {args.steps}, {pairs} pairs, loss {loss.item():.3f}, best first by layer "
                  f"{' '.join(f'{hit:.2f}' for hit in hits.tolist())}, {time.time() - started:.0f} s", flush=True)
    batches.close()
    with torch.no_grad():
        parts = [rows[i:min(i + 16, development)] for i in range(0, development, 16)]
        found = [loss_of(model, lists.batch(part), args.device) for part in parts]
    print(f"development loss {np.mean([loss.item() for loss, _ in found]):.3f}, best first by layer "
          f"{' '.join(f'{hit:.3f}' for hit in torch.stack([hits for _, hits in found]).mean(0).tolist())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("texts", "lists", "minilm", "out"):
        parser.add_argument(name)
    parser.add_argument("--steps", type=int, default=1738)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--report", type=int, default=100, help="steps between two lines")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(args.minilm)
    model = student(args.minilm).to(args.device)
    train(model, Lists(args.texts, args.lists, tokenizer), args)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
