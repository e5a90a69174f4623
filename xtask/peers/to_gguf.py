"""Writes a Qwen3 checkpoint as GGUF, tensor by tensor. usage: to_gguf.py MODEL OUT bf16|q8_0|q4_0"""

import json
import os
import sys

import gguf
import numpy
from safetensors import safe_open

folder, out, variant = sys.argv[1:4]
KIND = {"bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}[variant]
kind = gguf.GGMLQuantizationType[KIND]
config = json.load(open(os.path.join(folder, "config.json")))
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

writer = gguf.GGUFWriter(out + ".partial", "qwen3", use_temp_file=True)
writer.add_block_count(config["num_hidden_layers"])
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(config["num_attention_heads"])
writer.add_head_count_kv(config["num_key_value_heads"])
writer.add_key_length(config["head_dim"])
writer.add_value_length(config["head_dim"])
writer.add_rope_freq_base(config["rope_theta"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_file_type(gguf.LlamaFileType["MOSTLY_" + KIND])
vocab = config["vocab_size"]
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("qwen2")
writer.add_token_list([f"t{i}".encode() for i in range(vocab)])
writer.add_token_types([1] * vocab)
writer.add_token_merges(["t 0"])
writer.add_eos_token_id(1)
writer.add_bos_token_id(0)


def gguf_name(name):
    if name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        return {"model.e": "token_embd.weight", "model.n": "output_norm.weight",
                "lm_head": "output.weight"}[name[:7]]
    layer, part = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[part.removesuffix('.weight')]}.weight"


index = os.path.join(folder, "model.safetensors.index.json")
shards = sorted(set(json.load(open(index))["weight_map"].values())) if os.path.exists(index) else ["model.safetensors"]
for shard in shards:
    with safe_open(os.path.join(folder, shard), "pt") as tensors:
        for name in tensors.keys():
            values = tensors.get_tensor(name).float().numpy()
            if values.ndim == 1:
                writer.add_tensor(gguf_name(name), values.astype(numpy.float32))
            else:
                writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
os.rename(out + ".partial", out)
