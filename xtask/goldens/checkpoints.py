"""Random models of awkward shapes, written as checkpoints and read back by the reference."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GteConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    ModernBertConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

CONFIGS = {
    "bert": BertConfig,
    "camembert": CamembertConfig,
    "deberta-v2": DebertaV2Config,
    "distilbert": DistilBertConfig,
    "electra": ElectraConfig,
    "gte": GteConfig,
    "gemma": GemmaConfig,
    "gemma2": Gemma2Config,
    "gemma2-layerwise": Gemma2Config,
    "llama": LlamaConfig,
    "modernbert": ModernBertConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
}


def build(case, vocab_size):
    """The model in f32 with weights under which scores vary by several units over candidates and layers."""
    if case.family == "minicpm":
        config = granite(vocab_size=vocab_size, **case.config)
    else:
        config = CONFIGS[case.family](vocab_size=vocab_size, **case.config)
    auto = AutoModelForCausalLM if case.form == "causal" else AutoModelForSequenceClassification
    if case.form == "classification":
        config.num_labels = 1
    torch.manual_seed(case.seed)
    model = auto.from_config(config, attn_implementation="eager", dtype=torch.float32)
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(fresh(name, parameter.shape, generator, case))
    model.tie_weights()
    return model


def granite(scale_emb, scale_depth, start_layer, **config):
    """MiniCPM's equations in Granite's terms."""
    return GraniteConfig(
        embedding_multiplier=scale_emb,
        residual_multiplier=scale_depth / math.sqrt(config["num_hidden_layers"]),
        attention_multiplier=config.pop("head_dim") ** -0.5,
        logits_scaling=1.0,
        **config,
    )


def fresh(name, shape, generator, case):
    normal = torch.randn(shape, generator=generator)
    if "norm" in name.lower():
        if case.family.startswith("gemma"):
            return 0.25 * normal  # one is added to it
        return (1.0 + 0.25 * normal) if name.endswith("weight") else 0.2 * normal
    if name.endswith("bias"):
        return 0.3 * normal
    head = name in ("lm_head.weight", "score.weight", "classifier.weight", "classifier.out_proj.weight")
    if head or (case.config.get("tie_word_embeddings") and "embed_tokens" in name):
        return normal * case.head_gain / math.sqrt(shape[-1])
    if "embed" in name and "proj" not in name:
        return normal / case.config.get("scale_emb", 1.0)
    return normal * case.gain / math.sqrt(shape[-1])


def save(model, case, folder: Path):
    """Weights in the case's dtype, one file or shards, and the config as older or newer releases write it."""
    model.to(case.dtype).save_pretrained(folder, max_shard_size=case.max_shard_size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.legacy_names:
        rename_as_of_old(folder / "model.safetensors", case)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if case.family == "minicpm":
        config = as_layerwise_minicpm(folder / "model.safetensors", config, case)
    if case.family == "gemma2-layerwise":
        config = as_layerwise_gemma2(folder / "model.safetensors", config, case)
    if case.old_config:
        config = config_as_of_old(config)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def config_as_of_old(config):
    """Before transformers 5: `rope_theta` and `rope_scaling` at the top level, `torch_dtype`."""
    rope = config.pop("rope_parameters", None)
    if rope is not None and "full_attention" in rope:
        config["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        config["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
        config["global_attn_every_n_layers"] = config.pop("layer_types")[1:].index("full_attention") + 1
    elif rope is not None:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if config["model_type"] == "gemma":
        # Meant is the approximation by tanh, and the head is the embedding table.
        config["hidden_act"] = "gelu"
        del config["tie_word_embeddings"]
    if config["model_type"] in ("gemma2", "cost_wise_gemma"):
        # Every second layer from the first on has a window; the activation was under both names.
        del config["layer_types"]
        config["hidden_act"] = "gelu"
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.40.0"
    return config


def rename_as_of_old(path, case):
    """Names from before PyTorch's LayerNorm, and the buffer of positions that old files hold."""
    tensors = {}
    for name, tensor in load_file(path).items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[name] = tensor
    positions = torch.arange(case.config["max_position_embeddings"]).unsqueeze(0)
    tensors["bert.embeddings.position_ids"] = positions
    save_file(tensors, path, metadata={"format": "pt"})


def as_remote_code(folder, fields):
    """GTE's checkpoint as it was before transformers had the class: other prefix, architecture and rotary fields."""
    path = folder / "model.safetensors"
    tensors = {name.replace("gte.", "new.", 1): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"]
    config |= dict(architectures=["NewForSequenceClassification"], model_type="new") | fields
    config |= dict(position_embedding_type="rope", pack_qkv=True, layer_norm_type="layer_norm", logn_attention_scale=False)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


DECODERS = ("gemma", "gemma2", "llama", "qwen2", "qwen3")
# Families with a row for each of the later layers in place of one head.
LAYERWISE = ("minicpm", "gemma2-layerwise")
# Families whose models get token types.
TYPED = ("bert", "deberta-v2", "electra")
# DistilBERT's is BERT's tokenizer, whose types the model does not take.
TOKENIZED_WITH_TYPES = TYPED + ("distilbert",)


def with_rows_of_layers(path, case, count):
    """No head of a language model, but `count` rows, each of a layer."""
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    generator = torch.Generator().manual_seed(case.seed + 1000)
    hidden = case.config["hidden_size"]
    for head in range(count):
        row = torch.randn((1, hidden), generator=generator) * case.head_gain / math.sqrt(hidden)
        tensors[f"lm_head.{head}.linear_head.weight"] = row.to(case.dtype)
    save_file(tensors, path, metadata={"format": "pt"})


def as_layerwise_minicpm(path, config, case):
    """The files of bge-reranker-v2-minicpm-layerwise."""
    own = {key: case.config[key] for key in ("scale_emb", "scale_depth", "start_layer", "num_hidden_layers")}
    with_rows_of_layers(path, case, own["num_hidden_layers"] - own["start_layer"] + 1)
    kept = "attention_bias hidden_act hidden_size initializer_range intermediate_size max_position_embeddings"
    kept += " num_attention_heads num_key_value_heads rms_norm_eps vocab_size"
    return {key: config[key] for key in kept.split()} | own | {
        "architectures": ["LayerWiseMiniCPMForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_minicpm_reranker.LayerWiseMiniCPMForCausalLM"},
        "dim_model_base": 256,
        "head_multi": True,
        "head_type": "simple",
        "model_type": "minicpm",
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": str(case.dtype).removeprefix("torch."),
        "transformers_version": "4.38.1",
    }


def as_layerwise_gemma2(path, config, case):
    """The files of bge-reranker-v2.5-gemma2-lightweight."""
    start, step = case.heads
    with_rows_of_layers(path, case, len(range(start, config["num_hidden_layers"] + 1, step)))
    return config | {
        "architectures": ["CostWiseGemmaForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "gemma_model.CostWiseGemmaForCausalLM"},
        "layer_sep": step,
        "layer_wise": True,
        "model_type": "cost_wise_gemma",
        "start_layer": start,
        "tie_word_embeddings": True,
    }


def read_layerwise(case, folder):
    """Granite or Gemma 2 over those files, and the rows of the heads by layer."""
    tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    vocab_size = tensors["model.embed_tokens.weight"].shape[0]
    if case.family == "minicpm":
        kind, config = GraniteForCausalLM, granite(vocab_size=vocab_size, **case.config)
        start, step = case.config["start_layer"], 1
    else:
        kind, config = Gemma2ForCausalLM, Gemma2Config(vocab_size=vocab_size, **case.config)
        start, step = case.heads
    model = kind._from_config(config, attn_implementation="eager", dtype=torch.float32)
    heads = [None] * case.config["num_hidden_layers"]
    # The first head is that of the state after `start` layers.
    for head in range(sum("linear_head" in name for name in tensors)):
        heads[start + head * step - 1] = tensors.pop(f"lm_head.{head}.linear_head.weight")[0]
    report = model.load_state_dict(tensors, strict=False)
    assert report.missing_keys == ["lm_head.weight"] and not report.unexpected_keys, report
    return model, heads


class Reference:
    """The saved checkpoint as transformers reads it, run in f32."""

    def __init__(self, case, folder):
        self.case = case
        self.heads = None
        # Of logits, not of classification heads.
        self.cap = case.config.get("final_logit_softcapping") if case.form == "causal" else None
        if case.family in LAYERWISE:
            self.model, self.heads = read_layerwise(case, folder)
            self.model.eval()
            self.decoder = True
            return
        auto = AutoModelForCausalLM if case.form == "causal" else AutoModelForSequenceClassification
        self.model, report = auto.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        assert not report["missing_keys"], report
        self.model.eval()
        self.decoder = case.family in DECODERS

    def trace(self, ids, type_ids, answers):
        """The score after each layer, and the hidden state of the scored position after each layer."""
        base = getattr(self.model, self.model.base_model_prefix)
        encoder = getattr(base, "encoder", getattr(base, "transformer", base))
        layers = base.layers if hasattr(base, "layers") else encoder.layer
        states = []
        keep = lambda module, inputs, output: states.append(output[0] if isinstance(output, tuple) else output)
        hooks = [layer.register_forward_hook(keep) for layer in layers]
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if self.case.family in TYPED:
            inputs["token_type_ids"] = torch.tensor([type_ids or [0] * len(ids)])
        with torch.no_grad():
            output = self.model(**inputs, **({"output_hidden_states": True} if self.heads else {}))
            if self.heads:
                last = output.hidden_states[-1][0, -1]
                rows = zip(self.heads, states, strict=True)
                scores = [None if row is None else self.capped(row @ base.norm(state[0, -1])) for row, state in rows]
            output = output.logits
            scores = scores if self.heads else [self.score(base, state, answers) for state in states]
        for hook in hooks:
            hook.remove()
        if self.heads:
            expected = self.capped(self.heads[-1] @ last)
        elif self.case.form == "causal" and answers[1] is None:
            expected = output[0, -1, answers[0]]
        elif self.case.form == "causal":
            expected = output[0, -1, answers[0]] - output[0, -1, answers[1]]
        else:
            assert output.shape == (1, 1), output.shape
            expected = output[0, 0]
        assert len(scores) == len(layers)
        assert abs(scores[-1] - expected) <= 1e-5 * max(1.0, abs(expected)), (scores[-1], expected)
        position = -1 if self.decoder else 0
        return [None if score is None else float(score) for score in scores], [state[0, position].tolist() for state in states]

    def capped(self, logit):
        return logit if self.cap is None else self.cap * torch.tanh(logit / self.cap)

    def pooled(self, normed):
        return normed.mean(dim=1) if self.model.config.classifier_pooling == "mean" else normed[:, 0]

    def score(self, base, state, answers):
        if self.decoder:
            normed = base.norm(state[0, -1])
            if self.case.form == "causal":
                rows = self.model.lm_head.weight
                yes, no = (None if answer is None else self.capped(rows[answer] @ normed) for answer in answers)
                return yes if no is None else yes - no
            return self.model.score(normed)[0]
        if self.case.family in ("bert", "gte"):
            return self.model.classifier(base.pooler(state))[0, 0]
        if self.case.family == "deberta-v2":
            return self.model.classifier(self.model.pooler(state))[0, 0]
        if self.case.family == "distilbert":
            return self.model.classifier(torch.relu(self.model.pre_classifier(state[:, 0])))[0, 0]
        if self.case.family == "modernbert":
            return self.model.classifier(self.model.head(self.pooled(base.final_norm(state))))[0, 0]
        return self.model.classifier(state)[0, 0]
