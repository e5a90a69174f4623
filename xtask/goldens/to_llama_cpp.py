"""Writes golden checkpoints and tokenizers as llama.cpp's conversion would (`convert_hf_to_gguf.py`), with the `gguf`
package (PyPI). usage: to_llama_cpp.py GOLDENS MODELS TOKENIZERS

MODELS/<case>.gguf: names by `gguf.TensorNameMap`; Llama's rows of queries and keys go by neighbouring pairs; the rows
of XLM-RoBERTa's position table before the first token's are cut off; of Qwen3-Reranker's head the rows of yes and no
are stored apart; vectors are f32. Of BERT the pooler is kept, which the conversion drops.
TOKENIZERS/<kind>.gguf: vocabularies alone. `sentencepiece` and `modern-bert` are made here, with their
`tokenizer.json` beside them.
"""

import json
import math
import os
import sys

import gguf
import numpy
from gguf import TokenType
from safetensors.numpy import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers.convert_slow_tokenizer import generate_merges

import texts
from texts import corpus

CASES = {
    "llama-f32": gguf.MODEL_ARCH.LLAMA,
    "gemma-f32": gguf.MODEL_ARCH.GEMMA,
    "gemma2-f32": gguf.MODEL_ARCH.GEMMA2,
    "qwen3-tied-f32": gguf.MODEL_ARCH.QWEN3,
    "xlm-roberta-f32": gguf.MODEL_ARCH.BERT,
    "bert-gelu-f32": gguf.MODEL_ARCH.BERT,
    "modernbert-mean-f32": gguf.MODEL_ARCH.MODERN_BERT,
}
TOKENIZERS = ["byte-level-bpe", "byte-level-bpe-llama3", "wordpiece", "unigram"]
# As `conversion/qwen.py` writes it.
RERANK = texts.QWEN3_PREFIX + texts.QWEN3_BODY + texts.QWEN3_SUFFIX
RERANK = RERANK.replace("{instruction}", texts.QWEN3_INSTRUCTION)


def neighbours(weight, heads):
    """Rows of each head, first half and second half, become pairs of neighbours."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return numpy.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def looks_special(token):
    return token in ("<pad>", "<mask>") or (token.startswith("<|") and token.endswith("|>"))


def base_vocabulary(file, size):
    """`get_vocab_base`: tokens and types by id, padded to the embedding table."""
    tokens = {id: token for token, id in file["model"]["vocab"].items()}
    added = {token["id"]: token for token in file["added_tokens"]}
    tokens |= {id: token["content"] for id, token in added.items()}
    types = []
    for id in range(size):
        if id not in tokens:
            tokens[id] = f"[PAD{id}]"
            types.append(TokenType.UNUSED)
        elif id in added:
            control = added[id]["special"] or looks_special(tokens[id])
            types.append(TokenType.CONTROL if control else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL)
    return [tokens[id] for id in range(size)], types


def phantom(token, kind):
    if kind == TokenType.CONTROL:
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def add_wordpiece(writer, file, size):
    tokens, types = base_vocabulary(file, size)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list([phantom(token, kind) for token, kind in zip(tokens, types)])
    writer.add_token_types(types)
    # `SpecialVocab`: cls is bos, sep is eos too, and cls has no key of its own.
    ids = {"bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    for name, token in ids.items():
        getattr(writer, f"add_{name}_token_id")(tokens.index(token))


def add_byte_level(writer, file, size, pre):
    tokens, types = base_vocabulary(file, size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = file["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    if "[CLS]" in tokens:
        # `SpecialVocab` of ModernBERT: as of BERT.
        ids = {"bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
        for name, token in ids.items():
            getattr(writer, f"add_{name}_token_id")(tokens.index(token))


def add_unigram(writer, file, size):
    """As from `sentencepiece.bpe.model`, which lacks `<mask>`; without its table of normalization."""
    pieces = file["model"]["vocab"]
    tokens = [piece for piece, _ in pieces] + [f"[PAD{i}]" for i in range(len(pieces), size)]
    scores = [score for _, score in pieces] + [-10000.0] * (size - len(pieces))
    types = [TokenType.NORMAL] * len(pieces) + [TokenType.UNUSED] * (size - len(pieces))
    for token in file["added_tokens"]:
        types[token["id"]] = TokenType.CONTROL
    types[tokens.index("<unk>")] = TokenType.UNKNOWN
    mask = tokens.index("<mask>")
    tokens[mask], scores[mask], types[mask] = f"[PAD{mask}]", -10000.0, TokenType.UNUSED
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    ids = {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "sep": 2, "mask": mask}
    for name, id in ids.items():
        getattr(writer, f"add_{name}_token_id")(id)


def add_gemma(writer, file, size):
    """As from `tokenizer.model`, whose scores fall from piece to piece."""
    vocab = sorted(file["model"]["vocab"], key=file["model"]["vocab"].get)
    special = {token["content"] for token in file["added_tokens"]}
    kind = lambda token: (
        TokenType.UNKNOWN if token == "<unk>"
        else TokenType.CONTROL if token in special
        else TokenType.BYTE if token.startswith("<0x")
        else TokenType.NORMAL
    )
    types = [kind(token) for token in vocab] + [TokenType.UNUSED] * (size - len(vocab))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocab + [f"[PAD{i}]" for i in range(len(vocab), size)])
    writer.add_token_scores([-float(i) for i in range(size)])
    writer.add_token_types(types)
    writer.add_add_space_prefix(False)
    for name, token in {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>"}.items():
        getattr(writer, f"add_{name}_token_id")(vocab.index(token))


def ligature_table():
    """sentencepiece's form of a table (a length, a double array, texts) that makes fi of U+FB01 and nothing else."""
    units = numpy.zeros(0x400, dtype="<u4")
    units[0] = 0x100 << 10
    # Label of each byte, and the offset to the block of the next one; the last has a leaf, whose text is at 0.
    for at, byte, offset, leaf in ((0x1EF, 0xEF, 0x300, 0), (0x243, 0xAC, 0x100, 0), (0x3C2, 0x81, 0x300, 1)):
        units[at] = offset << 10 | leaf << 8 | byte
    return numpy.uint32(units.nbytes).tobytes() + units.tobytes() + b"fi\0"


def add_tokenizer(writer, file, size):
    kind = file["model"]["type"]
    if kind == "WordPiece":
        add_wordpiece(writer, file, size)
    elif kind == "Unigram":
        add_unigram(writer, file, size)
    elif file["model"]["byte_fallback"]:
        add_gemma(writer, file, size)
    else:
        add_byte_level(writer, file, size, byte_level_split(file))


def byte_level_split(file):
    """The name of how a text is cut, which the conversion finds by hashing the ids of a nasty text."""
    if file["pre_tokenizer"]["type"] == "ByteLevel":
        return "modern-bert"
    return "llama-bpe" if "{1,3}" in json.dumps(file["pre_tokenizer"]) else "qwen2"


def parameters(writer, config, arch):
    roberta = config["model_type"] == "xlm-roberta"
    positions = config["max_position_embeddings"] - (config["pad_token_id"] + 1 if roberta else 0)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(positions)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    if arch == gguf.MODEL_ARCH.MODERN_BERT:
        ropes = config["rope_parameters"]
        writer.add_layer_norm_eps(config["norm_eps"])
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.RANK)
        writer.add_rope_freq_base(ropes["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(ropes["sliding_attention"]["rope_theta"])
        writer.add_sliding_window(config["local_attention"])
        kinds = config["layer_types"]
        pattern = kinds.index("full_attention", 1) if "full_attention" in kinds[1:] else len(kinds)
        assert all((kind == "full_attention") == (layer % pattern == 0) for layer, kind in enumerate(kinds)), kinds
        writer.add_sliding_window_pattern(pattern)
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_string("modern-bert.hidden_activation", config["hidden_activation"])
    elif arch == gguf.MODEL_ARCH.BERT:
        writer.add_layer_norm_eps(config["layer_norm_eps"])
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.RANK)
        writer.add_token_type_count(config["type_vocab_size"])
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if arch == gguf.MODEL_ARCH.GEMMA2:
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
        writer.add_sliding_window(config["sliding_window"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def convert(folder, out, arch):
    config = json.load(open(os.path.join(folder, "config.json")))
    file = json.load(open(os.path.join(folder, "tokenizer.json")))
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[arch])
    parameters(writer, config, arch)
    add_tokenizer(writer, file, config["vocab_size"])
    if arch == gguf.MODEL_ARCH.QWEN3:
        writer.add_name("Qwen3 Reranker Tiny")
        writer.add_pooling_type(gguf.PoolingType.RANK)
        writer.add_classifier_output_labels(["yes", "no"])
        writer.add_chat_template([{"name": "rerank", "template": RERANK}])
    for name, values in load_file(os.path.join(folder, "model.safetensors")).items():
        if arch == gguf.MODEL_ARCH.QWEN3 and "embed_tokens" in name:
            rows = [file["model"]["vocab"][answer] for answer in ("yes", "no")]
            writer.add_tensor("cls.output.weight", numpy.ascontiguousarray(values[rows]))
        if arch in (gguf.MODEL_ARCH.GEMMA, gguf.MODEL_ARCH.GEMMA2) and name.endswith("norm.weight"):
            values = values + 1
        name = name.removeprefix("roberta.").removeprefix("bert.")
        if arch == gguf.MODEL_ARCH.MODERN_BERT:
            name = name.removeprefix("model.").replace("classifier.", "classifier.out_proj.")
        if arch == gguf.MODEL_ARCH.LLAMA and ".q_proj." in name:
            values = neighbours(values, config["num_attention_heads"])
        if arch == gguf.MODEL_ARCH.LLAMA and ".k_proj." in name:
            values = neighbours(values, config["num_key_value_heads"])
        if config["model_type"] == "xlm-roberta" and name == "embeddings.position_embeddings.weight":
            values = values[config["pad_token_id"] + 1 :]
        if config["model_type"] == "bert":
            name = name.replace("classifier.", "classifier.out_proj.").replace("pooler.dense", "classifier.dense")
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        writer.add_tensor(new, values.astype(numpy.float32))
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sentencepiece(size=420):
    """BPE by scores with byte fallback, like Llama 2's: its pieces, and the `tokenizer.json` that transformers makes."""
    control = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    tokens = [token for token, _ in control] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kind for _, kind in control] + [TokenType.BYTE] * 256
    words = {}
    for line in corpus():
        for word in line.split():
            words["\u2581" + word] = words.get("\u2581" + word, 0) + 1
    letters = sorted({letter for word in words for letter in word if letter.isascii() or letter == "\u2581"})
    pieces = {}
    for word, count in words.items():
        for start in range(len(word)):
            for end in range(start + 2, min(len(word), start + 8) + 1):
                if all(letter in letters for letter in word[start:end]):
                    pieces[word[start:end]] = pieces.get(word[start:end], 0) + count
    # A piece is reached only through two others, so that shorter ones come first.
    ordered = sorted(pieces, key=lambda piece: (-pieces[piece] * math.sqrt(len(piece)), len(piece), piece))
    merged = ordered[: size - len(tokens) - len(letters)]
    tokens += merged + letters
    types += [TokenType.NORMAL] * (len(merged) + len(letters))
    scores = [0.0] * 259 + [float(-i) for i in range(len(merged) + len(letters))]
    vocab = {token: id for id, token in enumerate(tokens)}
    normal = {token: scores[vocab[token]] for token in merged + letters}
    tokenizer = Tokenizer(
        models.BPE(vocab, generate_merges(vocab, normal), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.ByteFallback()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, _ in control])
    return tokenizer, (tokens, scores, types)


def vocabulary(out, add, architecture="llama"):
    writer = gguf.GGUFWriter(out, architecture)
    add(writer)
    finish(writer)


def add_sentencepiece(writer, vocab):
    tokens, scores, types = vocab
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    for name, id in {"unk": 0, "bos": 1, "eos": 2}.items():
        getattr(writer, f"add_{name}_token_id")(id)


goldens, out, vocabularies_out = sys.argv[1:]
for folder in (out, vocabularies_out):
    os.makedirs(folder, exist_ok=True)
for case, arch in CASES.items():
    convert(os.path.join(goldens, case), os.path.join(out, case + ".gguf"), arch)
for kind in TOKENIZERS:
    source = json.load(open(os.path.join(goldens, "tokenizers", kind, "tokenizer.json")))
    length = 1 + max([t["id"] for t in source["added_tokens"]] + [len(source["model"]["vocab"]) - 1])
    add = lambda writer: add_tokenizer(writer, source, length + 3)
    with_table = lambda writer: (add(writer), writer.add_precompiled_charsmap(ligature_table()))
    vocabulary(os.path.join(vocabularies_out, kind + ".gguf"), with_table if kind == "unigram" else add)
# ModernBERT's cuts as GPT-2's do; the golden checkpoints' cuts as Llama 3's.
with open(os.path.join(goldens, "modernbert-mean-f32", "tokenizer.json")) as file:
    modernbert = json.load(file)
modernbert["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
modernbert["model"]["ignore_merges"] = False
with open(os.path.join(vocabularies_out, "modern-bert.json"), "w") as file:
    json.dump(modernbert, file, ensure_ascii=False, separators=(",", ":"))
vocabulary(
    os.path.join(vocabularies_out, "modern-bert.gguf"), lambda writer: add_tokenizer(writer, modernbert, 546), "modern-bert"
)
tokenizer, vocab = sentencepiece()
tokenizer.save(os.path.join(vocabularies_out, "sentencepiece.json"), pretty=False)
vocabulary(os.path.join(vocabularies_out, "sentencepiece.gguf"), lambda w: add_sentencepiece(w, vocab))
