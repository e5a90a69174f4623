"""Writes a trained cross-encoder as the project ships it: f16 safetensors, config.json, tokenizer.json.

usage: export.py TRAINED_DIR models/default
"""
import json, os, sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

source, out = sys.argv[1:]
model = BertForSequenceClassification.from_pretrained(source, num_labels=1, dtype=torch.float32)
tensors = {name: t.to(torch.float16).contiguous() for name, t in model.state_dict().items() if not name.endswith("position_ids")}
assert all(torch.isfinite(t).all() for t in tensors.values())
os.makedirs(out, exist_ok=True)
save_file(tensors, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
config = model.config.to_dict()
keep = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "vocab_size",
        "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "pad_token_id")
config = {key: config[key] for key in keep}
config.update(architectures=["BertForSequenceClassification"], dtype="float16", id2label={"0": "relevance"},
              label2id={"relevance": 0}, sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"})
with open(os.path.join(out, "config.json"), "w") as f:
    json.dump(config, f, indent=2, sort_keys=True)
    f.write("\n")
tokenizer = Tokenizer.from_file(os.path.join(source, "tokenizer.json"))
tokenizer.no_padding()
tokenizer.no_truncation()
tokenizer.save(os.path.join(out, "tokenizer.json"))
with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
    json.dump(dict(tokenizer_class="BertTokenizer", do_lower_case=True, model_max_length=512, cls_token="[CLS]", sep_token="[SEP]",
                   pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"), f, indent=2, sort_keys=True)
    f.write("\n")
print(f"{sum(t.numel() for t in tensors.values()) / 1e6:.1f} M parameters to {out}")
