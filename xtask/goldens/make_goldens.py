"""Makes the golden checkpoints and outputs of grating-model with transformers (README.md beside this file).
usage: make_goldens.py --out FOLDER"""

import argparse
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers.utils import logging

import texts
import tokenizer_files
import vocabularies
from checkpoints import LAYERWISE, TOKENIZED_WITH_TYPES, Reference, as_remote_code, build, save
from encoding import FilesEncoder, PairEncoder, PromptEncoder, digest

QWEN3 = {
    "prefix": texts.QWEN3_PREFIX,
    "body": texts.QWEN3_BODY,
    "suffix": texts.QWEN3_SUFFIX,
    "default_instruction": texts.QWEN3_INSTRUCTION,
    "yes": "yes",
    "no": "no",
}
# Qwen's chat format with a control token in the body and the question at the end.
QWEN2 = {
    "prefix": "<|im_start|>user\n",
    "body": "{instruction}\nquery: {query}<|im_end|>\n<|im_start|>document\n{document}",
    "suffix": "<|im_end|>\n<|im_start|>assistant\nrelevant: ",
    "default_instruction": "Is the document relevant to the query? true or false",
    "yes": "true",
    "no": "false",
}
# The query behind the document, and nothing but words around them.
CTXL = {
    "body": "Check whether a given document contains information helpful to answer the query.\n"
    "<Document> {document}\n<Query> {query}{instruction} ??",
    "prefix": "",
    "suffix": "",
    "default_instruction": "",
    "yes": 0,
    "no": None,
}
# The task behind the document.
MXBAI = {
    "prefix": "<|im_start|>user\n",
    "body": "{instruction}query: {query}\ndocument: {document}\nYou are an expert. <think>Is it relevant?</think>\nRelevance:",
    "suffix": "<|im_end|>\n<|im_start|>assistant\n",
    "default_instruction": "",
    "yes": "true",
    "no": "false",
}
BGE = {
    "body": ["A: {query}", "\n", "B: {document}", "\n", "{instruction}"],
    "suffix": "",
    "default_instruction": "Given a query A and a passage B, determine whether the passage contains an answer to the "
    "query by providing a prediction of either 'Yes' or 'No'.",
    "yes": "Yes",
    "no": None,
}
GEMMA = {"prefix": "<bos>"} | BGE
MINICPM = {"prefix": "<s>"} | BGE
LIGHTWEIGHT = GEMMA | {"default_instruction": "Predict whether passage B contains an answer to query A."}
LLAMA3 = {
    "prefix": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    "body": "Query: {query}\nPassage: {document}",
    "suffix": "\nyes or no?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "default_instruction": "",
    "yes": "yes",
    "no": "no",
}


@dataclass
class Case:
    """One checkpoint."""

    family: str
    form: str  # causal (yes/no) or classification
    tokenizer: object
    config: dict
    seed: int
    dtype: torch.dtype = torch.float32
    template: dict = None
    own_template: bool = False  # goes into a grating.json as it is, and not by its name
    limits: tuple = (256, 144)  # max_tokens of a pair, by turns
    gain: float = 1.5  # of layer weights over 1/sqrt(inputs)
    head_gain: float = 2.0  # of the scoring head
    max_shard_size: str = "5GB"
    old_config: bool = False
    legacy_names: bool = False
    heads: tuple = None  # of Gemma 2: the first layer with a row, and how far it is to the next
    extra_rows: int = 0  # embedding rows beyond the tokenizer's, as padded vocabularies have
    file: dict = field(default_factory=dict)  # further keys of grating.json
    no_grating: bool = False  # the architecture says the prompt
    legacy: bool = None  # of `LlamaTokenizer`
    tokenizer_class: str = None  # in tokenizer_config.json, where the model's own class would not take the file as it is
    remote_code: dict = None  # fields of the config of a checkpoint that brings its code, in place of `rope_parameters`
    tokenizer_config: dict = None  # with it the tokenizer is what `AutoTokenizer` makes of the folder
    special_pairs: tuple = ()  # further pairs, in which strings of control tokens become control tokens


def qwen3(form="causal", **kwargs):
    return Case("qwen3", form, vocabularies.qwen, template=QWEN3, **kwargs)


def decoder(layers, hidden, heads, kv_heads, head_dim, feed_forward, tied, theta=1e6, eps=1e-6, **more):
    rope = {"rope_type": "default", "rope_theta": theta} | more.pop("rope", {})
    return dict(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=feed_forward,
        tie_word_embeddings=tied,
        rope_parameters=rope,
        rms_norm_eps=eps,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **more,
    )


ENCODER_GAINS = dict(gain=2.5, head_gain=5.0)


def encoder(layers, hidden, heads, feed_forward, eps, act="gelu", positions=160, types=2, **more):
    return dict(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        layer_norm_eps=eps,
        hidden_act=act,
        max_position_embeddings=positions,
        type_vocab_size=types,
        **more,
    )


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

CASES = {
    "qwen3-tied-f32": qwen3(config=decoder(4, 40, 6, 2, 8, 72, True), seed=1, extra_rows=10),
    "qwen3-untied-bf16-sharded": qwen3(
        config=decoder(5, 48, 5, 5, 12, 56, False),
        seed=2,
        dtype=torch.bfloat16,
        max_shard_size="60KB",
        old_config=True,
    ),
    "qwen3-kv1-f16": qwen3(config=decoder(3, 24, 7, 1, 10, 50, True, theta=1e4), seed=3, dtype=torch.float16),
    "qwen3-kv-all-f32": qwen3(config=decoder(6, 36, 3, 3, 16, 44, False, eps=1e-5), seed=4, old_config=True),
    "qwen3-score-f32": qwen3("classification", config=decoder(4, 32, 4, 2, 6, 60, True), seed=5),
    "qwen3-score-bf16": qwen3(
        "classification", config=decoder(3, 40, 9, 3, 14, 64, False), seed=6, dtype=torch.bfloat16, old_config=True
    ),
    "qwen2-f32": Case(
        "qwen2",
        "causal",
        vocabularies.qwen,
        decoder(4, 42, 7, 1, 6, 60, True, eps=1e-5),
        seed=7,
        template=QWEN2,
        own_template=True,
        file={"max_tokens": 128},
        limits=(192, 96),
    ),
    "qwen2-bf16-sharded": Case(
        "qwen2",
        "causal",
        vocabularies.qwen,
        decoder(3, 48, 6, 2, 8, 40, False),
        seed=8,
        dtype=torch.bfloat16,
        template=QWEN3,
        own_template=True,
        max_shard_size="50KB",
        old_config=True,
    ),
    "llama-f32": Case(
        "llama",
        "causal",
        vocabularies.llama,
        decoder(4, 40, 5, 5, 8, 56, False, theta=1e4, eps=1e-5),
        seed=9,
        template=LLAMA3,
        own_template=True,
        limits=(192, 96),
        old_config=True,
    ),
    "llama3-rope-f16": Case(
        "llama",
        "causal",
        vocabularies.llama,
        decoder(3, 36, 6, 2, 10, 52, True, theta=5e5, rope=LLAMA3_ROPE),
        seed=10,
        dtype=torch.float16,
        template=LLAMA3,
        own_template=True,
        limits=(192, 96),
    ),
    "llama3-rope-old-config-f32": Case(
        "llama",
        "causal",
        vocabularies.llama,
        decoder(3, 33, 3, 1, 12, 48, True, theta=5e5, rope=LLAMA3_ROPE, attention_bias=True, mlp_bias=True),
        seed=11,
        template=LLAMA3,
        own_template=True,
        limits=(192, 96),
        old_config=True,
    ),
    "xlm-roberta-f32": Case(
        "xlm-roberta",
        "classification",
        vocabularies.unigram,
        encoder(4, 45, 5, 70, 1e-5, positions=162, types=1),
        tokenizer_class="PreTrainedTokenizerFast",
        seed=12,
        **ENCODER_GAINS,
        limits=(160, 72),
    ),
    "xlm-roberta-f16-sharded": Case(
        "xlm-roberta",
        "classification",
        vocabularies.unigram,
        encoder(3, 36, 3, 50, 1e-6, positions=130, types=1),
        tokenizer_class="PreTrainedTokenizerFast",
        seed=23,
        **ENCODER_GAINS,
        dtype=torch.float16,
        limits=(128, 72),
        max_shard_size="40KB",
        old_config=True,
    ),
    "bert-gelu-f32": Case(
        "bert",
        "classification",
        vocabularies.wordpiece,
        encoder(4, 42, 7, 60, 1e-12),
        seed=14,
        **ENCODER_GAINS,
        limits=(160, 72),
        extra_rows=3,
    ),
    "bert-gelu-new-bf16": Case(
        "bert",
        "classification",
        vocabularies.wordpiece_with_settings,
        encoder(3, 40, 5, 64, 1e-6, act="gelu_new"),
        seed=15,
        **ENCODER_GAINS,
        dtype=torch.bfloat16,
        limits=(160, 72),
    ),
    "bert-relu-old-names-f32": Case(
        "bert",
        "classification",
        vocabularies.wordpiece,
        encoder(6, 24, 3, 36, 1e-5, act="relu"),
        seed=16,
        **ENCODER_GAINS,
        limits=(160, 72),
        old_config=True,
        legacy_names=True,
    ),
}

CASES |= {
    "bert-sentencepiece-f32": Case(
        "bert",
        "classification",
        vocabularies.unigram,
        encoder(2, 20, 5, 32, 1e-12),
        seed=27,
        **ENCODER_GAINS,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="XLMRobertaTokenizer", model_max_length=128) | tokenizer_files.XLMR,
    ),
    "xlm-roberta-padding-in-text-f32": Case(
        "xlm-roberta",
        "classification",
        vocabularies.unigram,
        # `pad_token_id` is a piece that most texts have.
        encoder(2, 24, 3, 36, 1e-5, positions=172, types=1, pad_token_id=9),
        seed=25,
        **ENCODER_GAINS,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="XLMRobertaTokenizer") | tokenizer_files.XLMR,
    ),
    "xlm-roberta-marked-padding-f32": Case(
        "xlm-roberta",
        "classification",
        vocabularies.unigram,
        encoder(2, 18, 3, 30, 1e-5, positions=162, types=1),
        seed=26,
        **ENCODER_GAINS,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="XLMRobertaTokenizer") | tokenizer_files.XLMR,
        special_pairs=(
            ("what is a <pad> window", "<pad> a window has<pad><pad> two panes <pad>"),
            ("<pad>", "panes </s> of <mask> glass <pad> in a frame"),
        ),
    ),
}



def modernbert(layers, hidden, heads, feed_forward, window, **more):
    """Control tokens follow the 540 others of the vocabulary."""
    return dict(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        local_attention=window,
        max_position_embeddings=192,
        bos_token_id=541,
        cls_token_id=541,
        eos_token_id=542,
        sep_token_id=542,
        pad_token_id=543,
        **more,
    )


CASES |= {
    "modernbert-f32": Case(
        "modernbert",
        "classification",
        vocabularies.modernbert,
        modernbert(5, 40, 5, 44, 16),
        tokenizer_class="PreTrainedTokenizerFast",
        seed=31,
        **ENCODER_GAINS,
        limits=(176, 96),
        extra_rows=4,
    ),
    "modernbert-biases-bf16": Case(
        "modernbert",
        "classification",
        vocabularies.modernbert,
        modernbert(
            4,
            36,
            3,
            50,
            9,
            global_attn_every_n_layers=2,
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            classifier_bias=True,
            norm_eps=1e-4,
            hidden_activation="silu",
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 3e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        ),
        tokenizer_class="PreTrainedTokenizerFast",
        seed=32,
        gain=1.2,
        head_gain=5.0,
        dtype=torch.bfloat16,
        limits=(176, 96),
        old_config=True,
    ),
    "modernbert-mean-f32": Case(
        "modernbert",
        "classification",
        vocabularies.modernbert,
        # Windows longer than some texts and shorter than others; the limit is all positions.
        modernbert(4, 30, 3, 40, 26, classifier_pooling="mean", classifier_bias=True, classifier_activation="silu"),
        tokenizer_class="PreTrainedTokenizerFast",
        seed=33,
        gain=2.5,
        head_gain=9.0,
        limits=(192, 72),
    ),
}

CASES |= {
    "electra-f32": Case(
        "electra",
        "classification",
        vocabularies.wordpiece,
        # Embeddings narrower than the layers.
        encoder(4, 42, 7, 60, 1e-12, embedding_size=26),
        seed=41,
        **ENCODER_GAINS,
        limits=(160, 72),
        extra_rows=2,
    ),
    "electra-one-width-bf16": Case(
        "electra",
        "classification",
        vocabularies.wordpiece,
        encoder(3, 36, 3, 50, 1e-6, act="gelu_new", embedding_size=36),
        seed=42,
        gain=1.6,
        head_gain=5.0,
        dtype=torch.bfloat16,
        limits=(160, 72),
        old_config=True,
    ),
    "roberta-f32": Case(
        "roberta",
        "classification",
        vocabularies.roberta,
        encoder(4, 40, 5, 56, 1e-5, positions=162, types=1, pad_token_id=1),
        seed=43,
        **ENCODER_GAINS,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="RobertaTokenizer", model_max_length=160) | tokenizer_files.XLMR,
        special_pairs=(
            ("what is a <mask> window", "a  <mask> window has <pad> two panes"),
            ("</s>", "<s> panes </s> of <unk> glass"),
        ),
    ),
    "camembert-f32": Case(
        "camembert",
        "classification",
        vocabularies.camembert,
        encoder(3, 36, 6, 44, 1e-5, positions=162, types=1),
        seed=44,
        extra_rows=2,  # `<unk>NOTUSED` is added
        **ENCODER_GAINS,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="CamembertTokenizer", model_max_length=160) | tokenizer_files.XLMR,
        special_pairs=(
            ("what is a <mask> window", "a  <mask> window has <pad> two panes"),
            ("</s>NOTUSED", "<s> panes <unk>NOTUSED of <unk> glass"),
        ),
    ),
    "gte-f32": Case(
        "gte",
        "classification",
        vocabularies.unigram,
        encoder(4, 40, 5, 52, 1e-5, positions=160, types=1, pad_token_id=1),
        seed=51,
        gain=2.0,
        head_gain=5.0,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="XLMRobertaTokenizer", model_max_length=160) | tokenizer_files.XLMR,
    ),
    "gte-ntk-f16": Case(
        "gte",
        "classification",
        vocabularies.unigram,
        encoder(
            3,
            42,
            3,
            45,
            1e-12,
            act="gelu_new",
            positions=160,
            types=0,
            pad_token_id=1,
            # What `ntk` of factor 8 over a base of 500 comes to.
            rope_parameters={"rope_type": "linear", "rope_theta": 8 * 500.0, "factor": 8 ** (2 / 14)},
        ),
        seed=52,
        gain=2.0,
        head_gain=5.0,
        dtype=torch.float16,
        limits=(160, 72),
        tokenizer_config=dict(tokenizer_class="XLMRobertaTokenizer", model_max_length=160) | tokenizer_files.XLMR,
        remote_code={"rope_theta": 500.0, "rope_scaling": {"type": "ntk", "factor": 8.0}},
    ),
    "distilbert-f32": Case(
        "distilbert",
        "classification",
        vocabularies.wordpiece,
        dict(n_layers=4, dim=40, n_heads=5, hidden_dim=54, max_position_embeddings=160),
        seed=45,
        **ENCODER_GAINS,
        limits=(160, 72),
    ),
}



def minicpm(layers, hidden, heads, kv_heads, feed_forward, start, **more):
    return dict(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=hidden // heads,
        intermediate_size=feed_forward,
        tie_word_embeddings=False,
        max_position_embeddings=512,
        start_layer=start,
        scale_depth=1.4,
        **more,
    )


GEMMA2_GAINS = dict(gain=2.0, head_gain=3.0)
CASES |= {
    "minicpm-layerwise-f32": Case(
        "minicpm",
        "causal",
        vocabularies.minicpm,
        minicpm(6, 40, 5, 5, 60, 3, scale_emb=12, rms_norm_eps=1e-5),
        seed=41,
        template=MINICPM,
        no_grating=True,
        limits=(256, 144),
        gain=1.8,
        head_gain=3.0,
        extra_rows=2,
        tokenizer_class="LlamaTokenizer",
        legacy=True,
    ),
    "minicpm-layerwise-bf16": Case(
        "minicpm",
        "causal",
        vocabularies.minicpm,
        minicpm(4, 36, 6, 2, 50, 1, scale_emb=3),
        seed=42,
        template=MINICPM,
        no_grating=True,
        limits=(256, 144),
        gain=1.8,
        head_gain=3.0,
        dtype=torch.bfloat16,
        tokenizer_class="LlamaTokenizer",
        legacy=False,
    ),
    "gemma-f32": Case(
        "gemma",
        "causal",
        vocabularies.gemma,
        decoder(4, 40, 5, 1, 12, 64, True, theta=1e4, hidden_activation="gelu_pytorch_tanh"),
        seed=43,
        template=GEMMA,
        limits=(256, 144),
        extra_rows=3,
        tokenizer_class="GemmaTokenizer",
    ),
    "gemma-bf16": Case(
        "gemma",
        "causal",
        vocabularies.gemma,
        decoder(3, 36, 4, 2, 6, 50, True, theta=1e4, eps=1e-5, hidden_act="gelu"),
        seed=44,
        template=GEMMA,
        limits=(256, 144),
        dtype=torch.bfloat16,
        old_config=True,
        tokenizer_class="GemmaTokenizer",
    ),
}

CASES |= {
    # Windows shorter than the texts, caps that are felt; the scale is what llama.cpp takes for it.
    "gemma2-f32": Case(
        "gemma2",
        "causal",
        vocabularies.gemma,
        decoder(
            4,
            40,
            5,
            1,
            12,
            64,
            True,
            theta=1e4,
            query_pre_attn_scalar=12,
            sliding_window=21,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=6.0,
        ),
        seed=71,
        template=GEMMA,
        limits=(256, 144),
        extra_rows=3,
        tokenizer_class="GemmaTokenizer",
        **GEMMA2_GAINS,
    ),
    # Two answers, no caps, windows longer than some texts and shorter than others.
    "gemma2-no-caps-bf16": Case(
        "gemma2",
        "causal",
        vocabularies.gemma,
        decoder(
            3,
            36,
            4,
            2,
            6,
            50,
            False,
            theta=1e4,
            eps=1e-5,
            query_pre_attn_scalar=9,
            sliding_window=90,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
            attention_bias=True,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        ),
        seed=72,
        template=GEMMA | {"yes": "Y", "no": "s"},
        own_template=True,
        limits=(256, 144),
        dtype=torch.bfloat16,
        tokenizer_class="GemmaTokenizer",
        **GEMMA2_GAINS,
    ),
    "gemma2-score-f16": Case(
        "gemma2",
        "classification",
        vocabularies.gemma,
        decoder(3, 24, 3, 3, 10, 44, True, theta=1e4, query_pre_attn_scalar=8, sliding_window=1, attn_logit_softcapping=2.0),
        seed=73,
        template=GEMMA,
        limits=(256, 144),
        dtype=torch.float16,
        old_config=True,
        tokenizer_class="GemmaTokenizer",
        **GEMMA2_GAINS,
    ),
    "gemma2-lightweight-f32": Case(
        "gemma2-layerwise",
        "causal",
        vocabularies.gemma,
        decoder(
            6,
            40,
            4,
            2,
            8,
            56,
            False,
            theta=1e4,
            query_pre_attn_scalar=10,
            sliding_window=33,
            attn_logit_softcapping=4.0,
            final_logit_softcapping=9.0,
        ),
        seed=74,
        template=LIGHTWEIGHT,
        no_grating=True,
        heads=(2, 2),
        limits=(256, 144),
        old_config=True,
        tokenizer_class="GemmaTokenizer",
        **GEMMA2_GAINS,
    ),
}


def deberta(layers, hidden, heads, feed_forward, positions=160, **more):
    return dict(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=positions,
        relative_attention=True,
        **more,
    )


CASES |= {
    # As v3 has it: buckets, maps that are shared, a norm, no positions; far distances share the last buckets.
    "deberta-v3-f32": Case(
        "deberta-v2",
        "classification",
        vocabularies.deberta,
        deberta(
            4,
            40,
            5,
            52,
            position_buckets=24,
            max_relative_positions=-1,
            pos_att_type=["p2c", "c2p"],
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
        ),
        seed=61,
        gain=2.0,
        head_gain=3.0,
        limits=(160, 72),
    ),
    # Maps of their own, positions and types that are added, embeddings of another width, no buckets.
    "deberta-v2-bf16": Case(
        "deberta-v2",
        "classification",
        vocabularies.deberta,
        deberta(
            3,
            36,
            3,
            44,
            position_buckets=-1,
            max_relative_positions=20,
            pos_att_type="c2p|p2c",
            embedding_size=22,
            type_vocab_size=2,
            layer_norm_eps=1e-5,
            pooler_hidden_act="tanh",
        ),
        seed=62,
        gain=1.6,
        head_gain=5.0,
        dtype=torch.bfloat16,
        limits=(160, 72),
        old_config=True,
    ),
    "deberta-v2-c2p-f32": Case(
        "deberta-v2",
        "classification",
        vocabularies.deberta,
        deberta(2, 28, 2, 40, position_buckets=64, pos_att_type=["c2p"], position_biased_input=False),
        seed=63,
        gain=2.0,
        head_gain=5.0,
        limits=(160, 72),
    ),
}

TOKENIZERS = {
    "byte-level-bpe": (vocabularies.qwen, QWEN3, (8192, 128)),
    "byte-level-bpe-control-in-body": (vocabularies.qwen, QWEN2, (8192, 96)),
    "byte-level-bpe-llama3": (vocabularies.llama, LLAMA3, (8192, 96)),
    "byte-level-bpe-text-first": (vocabularies.qwen, CTXL, (96,)),
    "byte-level-bpe-text-in-the-middle": (vocabularies.qwen, MXBAI, (112,)),
    "wordpiece": (vocabularies.wordpiece, None, (8192, 32)),
    "wordpiece-with-settings": (vocabularies.wordpiece_with_settings, None, (512,)),
    "unigram": (vocabularies.unigram, None, (8192, 32)),
    # An even room: where it is odd, query and text count as equal from eight times of it on (`tokenize/pair.rs`).
    "unigram-deberta": (vocabularies.deberta, None, (8192, 33)),
    "byte-level-bpe-roberta": (vocabularies.roberta, None, (8192, 32)),
}


def make_case(name, case, folder):
    tokenizer = case.tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    vocab_size = tokenizer.get_vocab_size() + case.extra_rows
    save(build(case, vocab_size), case, folder)
    if case.template and not case.no_grating:
        named = "bge-reranker-v2-gemma" if case.template is GEMMA else "qwen3-reranker"
        template = case.template if case.own_template else named
        write_json(folder / "grating.json", {"template": template} | case.file, indent=1)
    if case.tokenizer_class:
        settings = {"tokenizer_class": case.tokenizer_class}
        settings |= {} if case.legacy is None else {"legacy": case.legacy}
        write_json(folder / "tokenizer_config.json", settings, indent=1)
    reference = Reference(case, folder)
    if case.tokenizer_config:
        make_case_of_files(name, case, folder, reference)
        if case.remote_code:
            as_remote_code(folder, case.remote_code)
        return
    if case.tokenizer_class in ("LlamaTokenizer", "GemmaTokenizer"):
        own = getattr(transformers, case.tokenizer_class).from_pretrained(folder).backend_tokenizer
        # The class sets up what a text becomes, whatever the file says.
        own.post_processor = None
        tokenizer = own
    if case.template:
        text_encoder = PromptEncoder(tokenizer, case.template, False)
        words = [case.template[answer] for answer in ("yes", "no")]
        answers = [None if word is None else tokenizer.token_to_id(word) for word in words]
        assert words[1] is None or None not in answers
        answers = None if case.family in LAYERWISE else answers
    else:
        text_encoder, answers = PairEncoder(tokenizer, False), None
    pairs = []
    for number, (query, document, instruction) in enumerate(texts.PAIRS):
        max_tokens = case.limits[number % len(case.limits)]
        encoded = text_encoder.encode(query, document, instruction, max_tokens)
        if encoded is None:
            continue
        ids, type_ids, truncated, query_truncated = encoded
        assert len(ids) <= max_tokens
        scores, hidden = reference.trace(ids, type_ids, answers)
        pair = dict(query=query, document=document, instruction=instruction, max_tokens=max_tokens, ids=ids)
        pair |= dict(type_ids=type_ids if case.family in TOKENIZED_WITH_TYPES else [], truncated=truncated)
        pair |= {"query_truncated": True} if query_truncated else {}
        pair["logits_after_layer"] = [None if score is None else digits(score) for score in scores]
        if number < 2:
            pair["hidden_after_layer"] = [[digits(x) for x in state] for state in hidden]
        pairs.append(pair)
    check(name, pairs)
    write_golden(folder / "golden.json", {"answers": answers, "pairs": pairs})


def make_case_of_files(name, case, folder, reference):
    write_json(folder / "tokenizer_config.json", case.tokenizer_config, indent=1)
    text_encoder = FilesEncoder(folder)
    pairs = []
    inputs = [(q, d, False) for q, d, _ in texts.PAIRS] + [(q, d, True) for q, d in case.special_pairs]
    names = [t for t in case.tokenizer_config.values() if isinstance(t, str) and t.startswith("<")]
    for number, (query, document, special) in enumerate(inputs):
        if not special and any(t in query + document for t in names):
            continue  # the project's rule for these differs (README.md)
        max_tokens = case.limits[number % len(case.limits)]
        encoded = text_encoder.encode(query, document, max_tokens, special)
        if encoded is None:
            max_tokens = case.limits[0]
            encoded = text_encoder.encode(query, document, max_tokens, special)
        ids, type_ids, truncated = encoded
        scores, _ = reference.trace(ids, type_ids, None)
        pair = dict(query=query, document=document, instruction=None, max_tokens=max_tokens, ids=ids)
        pair |= dict(type_ids=type_ids, truncated=truncated) | (dict(special=True) if special else {})
        pair["logits_after_layer"] = [digits(score) for score in scores]
        pairs.append(pair)
    check(name, pairs)
    write_golden(folder / "golden.json", {"answers": None, "pairs": pairs})


def check(name, pairs):
    """A golden that tells nothing apart would test nothing."""
    last = [pair["logits_after_layer"][-1] for pair in pairs]
    columns = [c for c in zip(*(pair["logits_after_layer"] for pair in pairs)) if None not in c]
    spread = [max(column) - min(column) for column in columns]
    largest = max(abs(score) for column in columns for score in column)
    cut = sum(pair["truncated"] for pair in pairs)
    print(f"{name:28} last {min(last):6.2f} to {max(last):6.2f}, spread {[round(s, 1) for s in spread]}, {cut} cut")
    assert max(last) - min(last) > 2 and min(spread) > 1 and largest < 20, name
    assert 2 <= cut < len(pairs), name


def make_tokenization(name, build_tokenizer, template, limits, folder):
    tokenizer = build_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    encoders = {
        mode: PromptEncoder(tokenizer, template, mode == "special")
        if template
        else PairEncoder(tokenizer, mode == "special")
        for mode in ("plain", "special")
    }
    control = {t["id"] for t in json.loads(tokenizer.to_str())["added_tokens"] if vocabularies.is_control(t)}
    entries = []
    for query, document, instruction, generated in nasty_pairs():
        for max_tokens in limits:
            entry = dict(query=query, instruction=instruction, max_tokens=max_tokens)
            entry |= {"generated": generated} if generated else {"document": document}
            for mode, encoder in encoders.items():
                result = encoder.encode(query, document, instruction, max_tokens)
                if result is None:
                    entry[mode] = "too long"
                    continue
                if mode == "plain":
                    own = encoder.encode("", "", "", 8192)[0]
                    names = (getattr(tokenizer.model, "unk_token", None), "<unk>", "[UNK]")
                    ids = (tokenizer.token_to_id(name) for name in names if name)
                    unknown = next((id for id in ids if id is not None), None)  # bytes leave nothing unknown
                    count = lambda ids: sum(i in control and i != unknown for i in ids)
                    cut = result[3] and template  # then the body's own control tokens may be cut, too
                    assert count(result[0]) == count(own) or cut, (name, query, document)
                entry[mode] = outcome(*result)
            entries.append(entry)
    print(f"{name:28} {len(entries)} texts")
    write_golden(folder / "tokenization.json", {"template": template, "pairs": entries})


def nasty_pairs():
    """Each nasty text as a document, the short ones as query and instruction too, and the large ones."""
    for text in texts.NASTY:
        yield "what is a grating", text, None, None
        if len(text) <= 60:
            yield text, "a passage", None, None
            yield text, text, text, None
    for query, document in texts.LONG_QUERIES:
        yield query, document, None, None
    for label, seed, size in texts.LARGE:
        document = (seed * (size // len(seed.encode()) + 1)).encode()[:size].decode(errors="ignore")
        yield "does it end", document, None, {"seed": seed, "bytes": size}


def outcome(ids, type_ids, truncated, query_truncated):
    result = {"truncated": truncated}
    result |= {"query_truncated": True} if query_truncated else {}
    result |= {"ids": ids} if len(ids) <= 300 else {"count": len(ids), "sha256": digest(ids)}
    if type_ids:
        result["second"] = sum(type_ids)  # how many tokens at the end are of type 1
        assert type_ids == sorted(type_ids)
    return result


def digits(x):
    return float(f"{x:.9g}")


def write_golden(path, content):
    """One pair a line, so that a difference can be read."""
    pairs = content.pop("pairs")
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in content.items())
    lines = ",\n".join(json.dumps(pair, separators=(",", ":")) for pair in pairs)
    path.write_text("{" + head + '"pairs": [\n' + lines + "\n]}\n")


def write_json(path, content, indent):
    path.write_text(json.dumps(content, indent=indent) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; what it holds of these cases is replaced")
    parser.add_argument("--only", help="cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    jobs = [(name, lambda f, n=name, c=case: make_case(n, c, f)) for name, case in CASES.items()]
    for name, job in TOKENIZERS.items():
        jobs.append((f"tokenizers/{name}", lambda f, n=name, j=job: make_tokenization(n, *j, f)))
    for name, *job in tokenizer_files.cases():
        jobs.append((f"tokenizer-files/{name}", lambda f, j=job: tokenizer_files.make(*j, f, write_golden)))
    for name, job in jobs:
        if arguments.only and arguments.only not in name:
            continue
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        job(folder)


if __name__ == "__main__":
    main()
