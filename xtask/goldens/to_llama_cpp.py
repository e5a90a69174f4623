"""Writes golden checkpoints as GGUF files with the tensor names of the `gguf` package (PyPI) and the changes that
llama.cpp's conversion makes to weights. usage: to_llama_cpp.py GOLDENS OUT

Names: `gguf.TensorNameMap`. Changes: Llama's rows of queries and keys go by neighbouring pairs; the rows of
XLM-RoBERTa's position table before the first token's are cut off; vectors are f32.
"""

import json
import os
import sys

import gguf
import numpy
from safetensors.numpy import load_file

CASES = {
    "llama-f32": gguf.MODEL_ARCH.LLAMA,
    "qwen3-tied-f32": gguf.MODEL_ARCH.QWEN3,
    "xlm-roberta-f32": gguf.MODEL_ARCH.BERT,
}


def neighbours(weight, heads):
    """Rows of each head, first half and second half, become pairs of neighbours."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return numpy.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def convert(folder, out, arch):
    config = json.load(open(os.path.join(folder, "config.json")))
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("t5" if arch == gguf.MODEL_ARCH.BERT else "gpt2")
    writer.add_token_list([f"t{i}".encode() for i in range(config["vocab_size"])])
    for name, values in load_file(os.path.join(folder, "model.safetensors")).items():
        name = name.removeprefix("roberta.")
        if arch == gguf.MODEL_ARCH.LLAMA and ".q_proj." in name:
            values = neighbours(values, config["num_attention_heads"])
        if arch == gguf.MODEL_ARCH.LLAMA and ".k_proj." in name:
            values = neighbours(values, config["num_key_value_heads"])
        if name == "embeddings.position_embeddings.weight":
            values = values[config["pad_token_id"] + 1 :]
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        writer.add_tensor(new, values.astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


goldens, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
for case, arch in CASES.items():
    convert(os.path.join(goldens, case), os.path.join(out, case + ".gguf"), arch)
