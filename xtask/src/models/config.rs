//! config.json, tokenizer_config.json and grating.json, with the keys that the hub's models have.

use serde_json::{Value, json};

use super::shapes::{Dtype, Family, SCALE_DEPTH, SCALE_EMB, START_LAYER, Shape};

/// config.json.
pub(crate) fn config(shape: &Shape, dtype: Dtype) -> Value {
    let mut config = match shape.family {
        family if family.is_decoder() => decoder(shape),
        _ => encoder(shape),
    };
    config["torch_dtype"] = json!(dtype.torch());
    config
}

fn decoder(shape: &Shape) -> Value {
    let mut config = json!({
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": shape.positions,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tied,
        "transformers_version": "4.51.3",
        "use_cache": true,
        "vocab_size": shape.vocab,
    });
    merge(&mut config, of_decoder(shape));
    config
}

/// What a decoder's family has beside the usual fields.
fn of_decoder(shape: &Shape) -> Value {
    let special = super::tokenizer::special_ids(shape);
    match shape.family {
        Family::Qwen3 => json!({
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "attention_bias": false,
            "bos_token_id": special.end_of_text,
            "eos_token_id": special.end_of_turn,
            "head_dim": shape.head_dim,
            "max_window_layers": shape.layers,
            "rope_scaling": null,
            "sliding_window": null,
            "use_sliding_window": false,
        }),
        Family::Qwen2 => json!({
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "bos_token_id": special.end_of_text,
            "eos_token_id": special.end_of_turn,
            "max_window_layers": shape.layers,
            "sliding_window": null,
            "use_sliding_window": false,
        }),
        Family::MiniCpm => layerwise_minicpm(shape),
        Family::Gemma => json!({
            "architectures": ["GemmaForCausalLM"],
            "model_type": "gemma",
            "attention_bias": false,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "head_dim": shape.head_dim,
            "hidden_act": "gelu_pytorch_tanh",
            "pad_token_id": 0,
        }),
        Family::Gemma2 => lightweight_gemma2(shape),
        _ => json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": false,
            "bos_token_id": special.start_of_turn,
            "eos_token_id": special.end_of_turn,
            "pad_token_id": special.end_of_turn,
            "is_llama_config": true,
            "mlp_bias": false,
            "pretraining_tp": 1,
            "rope_interleaved": false,
            "rope_scaling": null,
        }),
    }
}

/// bge-reranker-v2-minicpm-layerwise.
fn layerwise_minicpm(shape: &Shape) -> Value {
    json!({
        "architectures": ["LayerWiseMiniCPMForCausalLM"],
        "model_type": "minicpm",
        "auto_map": {
            "AutoConfig": "configuration_minicpm_reranker.LayerWiseMiniCPMConfig",
            "AutoModelForCausalLM": "modeling_minicpm_reranker.LayerWiseMiniCPMForCausalLM",
        },
        "bos_token_id": 1,
        "dim_model_base": 256,
        "eos_token_id": 2,
        "head_multi": true,
        "head_type": "simple",
        "rope_scaling": null,
        "scale_depth": SCALE_DEPTH,
        "scale_emb": SCALE_EMB,
        "start_layer": START_LAYER.min(shape.layers),
    })
}

/// bge-reranker-v2.5-gemma2-lightweight.
fn lightweight_gemma2(shape: &Shape) -> Value {
    json!({
        "architectures": ["CostWiseGemmaForCausalLM"],
        "model_type": "cost_wise_gemma",
        "attention_bias": false,
        "attn_logit_softcapping": 50.0,
        "auto_map": {
            "AutoConfig": "gemma_config.CostWiseGemmaConfig",
            "AutoModelForCausalLM": "gemma_model.CostWiseGemmaForCausalLM",
        },
        "bos_token_id": 2,
        "eos_token_id": 1,
        "final_logit_softcapping": 30.0,
        "head_dim": shape.head_dim,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_sep": 1,
        "layer_wise": true,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "start_layer": START_LAYER.min(shape.layers),
    })
}

fn encoder(shape: &Shape) -> Value {
    let mut config = json!({
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": null,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": shape.hidden,
        "id2label": {"0": "LABEL_0"},
        "initializer_range": 0.02,
        "intermediate_size": shape.feed_forward,
        "label2id": {"LABEL_0": 0},
        "layer_norm_eps": shape.norm_eps,
        "max_position_embeddings": shape.positions,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "position_embedding_type": "absolute",
        "transformers_version": "4.38.1",
        "use_cache": true,
        "vocab_size": shape.vocab,
    });
    merge(&mut config, of_encoder(shape));
    config
}

/// What an encoder's config.json says in its family's own words.
fn of_encoder(shape: &Shape) -> Value {
    match shape.family {
        Family::XlmRoberta => json!({
            "architectures": ["XLMRobertaForSequenceClassification"],
            "model_type": "xlm-roberta",
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 1,
            "type_vocab_size": 1,
            "output_past": true,
        }),
        Family::Electra => json!({
            "architectures": ["ElectraForSequenceClassification"],
            "model_type": "electra",
            "embedding_size": shape.hidden,
            "pad_token_id": 0,
            "type_vocab_size": 2,
        }),
        Family::DistilBert => json!({
            "architectures": ["DistilBertForSequenceClassification"],
            "model_type": "distilbert",
            "activation": "gelu",
            "dim": shape.hidden,
            "hidden_dim": shape.feed_forward,
            "n_heads": shape.heads,
            "n_layers": shape.layers,
            "pad_token_id": 0,
        }),
        Family::ModernBert | Family::Gte | Family::DebertaV2 => of_later_encoder(shape),
        _ => json!({
            "architectures": ["BertForSequenceClassification"],
            "model_type": "bert",
            "gradient_checkpointing": false,
            "pad_token_id": 0,
            "type_vocab_size": 2,
            "sentence_transformers": {
                "activation_fn": "torch.nn.modules.linear.Identity",
                "version": "4.1.0.dev0",
            },
        }),
    }
}

/// The same of those that know positions by distances.
fn of_later_encoder(shape: &Shape) -> Value {
    match shape.family {
        Family::ModernBert => json!({
            "architectures": ["ModernBertForSequenceClassification"],
            "model_type": "modernbert",
            "classifier_pooling": "mean",
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 160_000.0,
            "hidden_activation": "gelu",
            "local_attention": 128,
            "local_rope_theta": 10_000.0,
            "norm_eps": shape.norm_eps,
            "pad_token_id": 0,
        }),
        Family::Gte => json!({
            "architectures": ["NewForSequenceClassification"],
            "model_type": "new",
            "layer_norm_type": "layer_norm",
            "logn_attention_scale": false,
            "pack_qkv": true,
            "pad_token_id": 1,
            "position_embedding_type": "rope",
            "rope_scaling": {"factor": 8.0, "type": "ntk"},
            "rope_theta": shape.rope_theta,
            "type_vocab_size": 1,
        }),
        _ => json!({
            "architectures": ["DebertaV2ForSequenceClassification"],
            "model_type": "deberta-v2",
            "max_relative_positions": -1,
            "norm_rel_ebd": "layer_norm",
            "pad_token_id": 0,
            "pooler_hidden_act": "gelu",
            "pooler_hidden_size": shape.hidden,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": false,
            "position_buckets": 256,
            "relative_attention": true,
            "share_att_key": true,
            "type_vocab_size": 0,
        }),
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// tokenizer_config.json: what `AutoTokenizer` needs beside tokenizer.json.
pub(crate) fn tokenizer_config(shape: &Shape) -> Value {
    match shape.family.is_decoder() {
        true => tokenizer_of_decoder(shape),
        false => tokenizer_of_encoder(shape),
    }
}

fn tokenizer_of_decoder(shape: &Shape) -> Value {
    match shape.family {
        Family::Qwen3 | Family::Qwen2 => json!({
            "add_prefix_space": false,
            "bos_token": null,
            "clean_up_tokenization_spaces": false,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 131_072,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": false,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": null,
        }),
        Family::Llama => json!({
            "add_prefix_space": false,
            "bos_token": "<|im_start|>",
            "clean_up_tokenization_spaces": false,
            "eos_token": "<|im_end|>",
            "model_max_length": shape.positions,
            "pad_token": "<|im_end|>",
            "tokenizer_class": "GPT2Tokenizer",
            "unk_token": "<|endoftext|>",
        }),
        Family::MiniCpm => json!({
            "add_bos_token": true,
            "add_eos_token": false,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "legacy": true,
            "model_max_length": shape.positions,
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
        }),
        Family::Gemma | Family::Gemma2 => json!({
            "add_bos_token": true,
            "add_eos_token": false,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "model_max_length": shape.positions,
            "pad_token": "<pad>",
            "tokenizer_class": "GemmaTokenizer",
            "unk_token": "<unk>",
        }),
        _ => unreachable!("an encoder"),
    }
}

fn tokenizer_of_encoder(shape: &Shape) -> Value {
    match shape.family {
        Family::XlmRoberta | Family::Gte => json!({
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": true,
            "cls_token": "<s>",
            "eos_token": "</s>",
            "mask_token": "<mask>",
            // XLM-RoBERTa keeps two positions for its padding offset.
            "model_max_length": shape.positions - if shape.family == Family::Gte { 0 } else { 2 },
            "pad_token": "<pad>",
            "sep_token": "</s>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
        }),
        Family::Bert | Family::Electra | Family::DistilBert => json!({
            "clean_up_tokenization_spaces": true,
            "cls_token": "[CLS]",
            "do_basic_tokenize": true,
            "do_lower_case": true,
            "mask_token": "[MASK]",
            "model_max_length": shape.positions,
            "never_split": null,
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "strip_accents": null,
            "tokenize_chinese_chars": true,
            "tokenizer_class": "BertTokenizer",
            "unk_token": "[UNK]",
        }),
        // A stand-in: words as BERT has them, where the public ones have pieces of their own.
        _ => json!({
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
            "model_max_length": shape.positions,
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "[UNK]",
        }),
    }
}

/// grating.json for decoders, whose files say nothing else of a prompt: Qwen3-Reranker's; for plain ones its wording
/// without the empty block of thoughts.
pub(crate) fn grating(shape: &Shape) -> Option<Value> {
    match shape.family {
        Family::Qwen3 => return Some(json!({ "template": "qwen3-reranker" })),
        Family::Gemma => return Some(json!({ "template": "bge-reranker-v2-gemma" })),
        Family::Qwen2 | Family::Llama => {}
        _ => return None,
    }
    Some(json!({
        "template": {
            "prefix": "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n",
            "body": "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
            "suffix": "<|im_end|>\n<|im_start|>assistant\n",
            "default_instruction": "Given a web search query, retrieve relevant passages that answer the query",
            "yes": "yes",
            "no": "no",
        }
    }))
}
