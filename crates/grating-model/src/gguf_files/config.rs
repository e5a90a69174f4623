//! Sizes and settings of the model, as a `config.json`.

use grating_io::Dtype;
use serde_json::{Map, Value, json};

use super::tokens::MODEL;
use super::{GgufFiles, unusable};
use crate::error::{ModelError, Result};
use crate::weights::widen;

const TOKEN_EMBEDDINGS: &str = "token_embd.weight";
const HEAD: &str = "cls.output.weight";
/// Pooling types (`llama_pooling_type`).
const POOLING_NONE: u64 = 0;
const POOLING_RANK: u64 = 4;

pub(super) fn write(files: &GgufFiles<'_>) -> Result<Vec<u8>> {
    let mut config = sizes(files)?;
    match files.architecture {
        "bert" => encoder(files, &mut config)?,
        "modern-bert" => modernbert(files, &mut config)?,
        "qwen3" => decoder(files, "Qwen3", &mut config)?,
        "qwen2" => decoder(files, "Qwen2", &mut config)?,
        "llama" => decoder(files, "Llama", &mut config)?,
        "gemma" => decoder(files, "Gemma", &mut config)?,
        "gemma2" => {
            decoder(files, "Gemma2", &mut config)?;
            gemma2(files, &mut config)?;
        }
        other => {
            let problem = format!(
                "is `{other}`, supported are bert, gemma, gemma2, llama, modern-bert, qwen2 and qwen3"
            );
            return Err(unusable("general.architecture", problem));
        }
    }
    Ok(Value::from(config).to_string().into_bytes())
}

fn sizes(files: &GgufFiles<'_>) -> Result<Map<String, Value>> {
    let required = |name: &str| {
        let key = files.key(name);
        files.number(&key)?.ok_or_else(|| unusable(&key, "is missing".to_string()))
    };
    let heads = required("attention.head_count")?;
    let vocab = files.rows(TOKEN_EMBEDDINGS).ok_or_else(|| missing(TOKEN_EMBEDDINGS))?;
    let config = json!({
        "num_hidden_layers": required("block_count")?,
        "hidden_size": required("embedding_length")?,
        "intermediate_size": required("feed_forward_length")?,
        "num_attention_heads": heads,
        "max_position_embeddings": required("context_length")?,
        "vocab_size": vocab,
    });
    match config {
        Value::Object(config) => Ok(config),
        _ => unreachable!("it is spelled as an object"),
    }
}

fn missing(tensor: &str) -> ModelError {
    ModelError::MissingTensor { tensor: tensor.to_string(), expected: Vec::new() }
}

/// BERT and XLM-RoBERTa, which share an architecture there and differ in their tokenizer.
fn encoder(files: &GgufFiles<'_>, config: &mut Map<String, Value>) -> Result<()> {
    refuse_embedding_model(files)?;
    let (name, padding) = match files.tokenizer_kind()? {
        "t5" => ("XLMRobertaForSequenceClassification", true),
        "bert" => ("BertForSequenceClassification", false),
        other => {
            let problem = format!("is `{other}`; of encoders bert and t5 are supported");
            return Err(unusable(MODEL, problem));
        }
    };
    config.insert("architectures".into(), json!([name]));
    config.insert("id2label".into(), labels(files.rows(HEAD).unwrap_or(1)));
    config.insert("layer_norm_eps".into(), json!(layer_norm_eps(files)?));
    config.insert("type_vocab_size".into(), json!(files.rows("token_types.weight").unwrap_or(1)));
    // Of XLM-RoBERTa the rows before the first position are cut off.
    let positions = "position_embd.weight";
    let rows = files.rows(positions).ok_or_else(|| missing(positions))?;
    let pad = files.number("tokenizer.ggml.padding_token_id")?;
    let pad = if padding { pad.unwrap_or(1) } else { pad.unwrap_or(0) };
    let cut = if padding { pad.saturating_add(1) } else { 0 };
    config.insert("pad_token_id".into(), json!(pad));
    config.insert("max_position_embeddings".into(), json!((rows as u64).saturating_add(cut)));
    Ok(())
}

fn layer_norm_eps(files: &GgufFiles<'_>) -> Result<f64> {
    let key = files.key("attention.layer_norm_epsilon");
    files.float(&key)?.ok_or_else(|| unusable(&key, "is missing".to_string()))
}

/// What the head reads is stored nowhere: llama.cpp takes the mean of all tokens.
fn modernbert(files: &GgufFiles<'_>, config: &mut Map<String, Value>) -> Result<()> {
    refuse_embedding_model(files)?;
    let kind = files.tokenizer_kind()?;
    if kind != "gpt2" {
        return Err(unusable(MODEL, format!("is `{kind}`; of ModernBERT gpt2 is supported")));
    }
    let has = |tensor: &str| files.checkpoint.get(tensor).is_some();
    let mut set = |name: &str, value: Value| config.insert(name.into(), value);
    set("architectures", json!(["ModernBertForSequenceClassification"]));
    set("id2label", labels(files.rows(HEAD).unwrap_or(1)));
    set("classifier_pooling", json!("mean"));
    set("norm_eps", json!(layer_norm_eps(files)?));
    set("norm_bias", json!(has("output_norm.bias")));
    set("attention_bias", json!(has("blk.0.attn_qkv.bias")));
    set("mlp_bias", json!(has("blk.0.ffn_up.bias")));
    set("classifier_bias", json!(has("cls.bias")));
    set("hidden_activation", json!(files.text(&files.key("hidden_activation")).unwrap_or("gelu")));
    let theta = files.float(&files.key("rope.freq_base"))?.unwrap_or(10_000.0);
    let local = files.float(&files.key("rope.freq_base_swa"))?.unwrap_or(theta);
    set("global_rope_theta", json!(theta));
    set("local_rope_theta", json!(local));
    let pattern = files.key("attention.sliding_window_pattern");
    match files.number(&files.key("attention.sliding_window"))?.filter(|&window| window > 0) {
        // No layer has a window.
        None => _ = set("global_attn_every_n_layers", json!(1)),
        Some(window) => {
            set("local_attention", json!(window));
            set("global_attn_every_n_layers", json!(files.number(&pattern)?.unwrap_or(3)));
        }
    }
    Ok(())
}

fn decoder(files: &GgufFiles<'_>, family: &str, config: &mut Map<String, Value>) -> Result<()> {
    let rows = files.rows(HEAD);
    if rows.is_none() {
        refuse_embedding_model(files)?;
    }
    let form = if rows == Some(1) { "SequenceClassification" } else { "CausalLM" };
    config.insert("architectures".into(), json!([format!("{family}For{form}")]));
    match rows {
        Some(1) => _ = config.insert("id2label".into(), labels(1)),
        Some(2) => check_answers(files)?,
        Some(n) => {
            let tensor = HEAD.to_string();
            let expected = vec![2, files.rows("output_norm.weight").unwrap_or(0)];
            return Err(ModelError::Shape { tensor, expected, found: vec![n] });
        }
        None => {}
    }
    let has = |tensor: &str| files.checkpoint.get(tensor).is_some();
    config.insert("tie_word_embeddings".into(), json!(!has("output.weight")));
    config.insert("attention_bias".into(), json!(has("blk.0.attn_q.bias")));
    config.insert("mlp_bias".into(), json!(has("blk.0.ffn_up.bias")));
    for (name, key) in
        [("num_key_value_heads", "attention.head_count_kv"), ("head_dim", "attention.key_length")]
    {
        if let Some(value) = files.number(&files.key(key))? {
            config.insert(name.into(), json!(value));
        }
    }
    let eps = files.key("attention.layer_norm_rms_epsilon");
    let value = files.float(&eps)?.ok_or_else(|| unusable(&eps, "is missing".to_string()))?;
    config.insert("rms_norm_eps".into(), json!(value));
    // llama.cpp's default, and transformers'.
    let theta = files.float(&files.key("rope.freq_base"))?.unwrap_or(10_000.0);
    config.insert("rope_theta".into(), json!(theta));
    if let Some(scaling) = rope_scaling(files, theta)? {
        config.insert("rope_scaling".into(), scaling);
    }
    Ok(())
}

/// What llama.cpp takes where a key is missing (`llama-model.cpp`) is also transformers' default. The scale is stored nowhere:
/// of the largest model, which has so many layers, it goes by the width that is each query head's share.
fn gemma2(files: &GgufFiles<'_>, config: &mut Map<String, Value>) -> Result<()> {
    const LARGEST: u64 = 46;
    for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(value) = files.float(&files.key(name))? {
            config.insert(name.into(), json!(value));
        }
    }
    if let Some(window) = files.number(&files.key("attention.sliding_window"))? {
        config.insert("sliding_window".into(), json!(window));
    }
    let size = |name: &str| config.get(name).and_then(Value::as_u64);
    let scale = match (size("num_hidden_layers"), size("head_dim")) {
        (Some(LARGEST), _) | (_, None) => {
            let heads = size("num_attention_heads").unwrap_or(1).max(1);
            size("hidden_size").unwrap_or(1) / heads
        }
        (_, Some(width)) => width,
    };
    config.insert("query_pre_attn_scalar".into(), json!(scale));
    Ok(())
}

fn labels(count: usize) -> Value {
    // More than a few are refused by their number, which is all that is looked at.
    let label = |n: usize| (n.to_string(), json!(format!("LABEL_{n}")));
    (0..count.min(16)).map(label).collect::<Map<_, _>>().into()
}

/// The rows of a head of two are told apart by these.
fn check_answers(files: &GgufFiles<'_>) -> Result<()> {
    let key = files.key("classifier.output_labels");
    match files.texts(&key)?.as_deref() {
        Some([yes, no]) if yes == "yes" && no == "no" => Ok(()),
        Some(other) => {
            Err(unusable(&key, format!("is {other:?}, expected yes and no, the rows of {HEAD}")))
        }
        None => Err(unusable(&key, format!("is missing, which says what the rows of {HEAD} are"))),
    }
}

/// Whatever pools vectors has no score.
fn refuse_embedding_model(files: &GgufFiles<'_>) -> Result<()> {
    let key = files.key("pooling_type");
    match files.number(&key)? {
        None | Some(POOLING_NONE | POOLING_RANK) => Ok(()),
        Some(other) => {
            let name = match other {
                1 => "mean",
                2 => "first token",
                3 => "last token",
                _ => "unknown",
            };
            let problem = format!(
                "is {other} ({name}): an embedding model, not a reranker, whose pooling type is {POOLING_RANK}"
            );
            Err(unusable(&key, problem))
        }
    }
}

fn rope_scaling(files: &GgufFiles<'_>, theta: f64) -> Result<Option<Value>> {
    if let Some(llama3) = llama3_scaling(files, theta)? {
        return Ok(Some(llama3));
    }
    let kind = files.text(&files.key("rope.scaling.type"));
    let factor = files.float(&files.key("rope.scaling.factor"))?;
    Ok(match kind {
        None | Some("none") => None,
        Some(kind) => Some(json!({"rope_type": kind, "factor": factor})),
    })
}

/// Llama 3.1's rule is stored as the factors that it makes; these parameters are all that published models have.
fn llama3_scaling(files: &GgufFiles<'_>, theta: f64) -> Result<Option<Value>> {
    const TENSOR: &str = "rope_freqs.weight";
    const MAX_FACTORS_BYTES: u64 = 1 << 20;
    let Some(tensor) = files.checkpoint.get(TENSOR) else { return Ok(None) };
    if tensor.dtype != Dtype::F32 || tensor.byte_len() > MAX_FACTORS_BYTES {
        let problem =
            format!("is {} of shape {:?}, expected a few F32", tensor.dtype, tensor.shape);
        return Err(unusable(TENSOR, problem));
    }
    let mut bytes = vec![0; tensor.byte_len() as usize];
    files.checkpoint.read(tensor, &mut bytes)?;
    let mut factors = vec![0.0; tensor.elements()];
    widen(tensor.dtype, &bytes, &mut factors);
    let factor = factors.iter().copied().fold(0.0, f32::max);
    let (low, high, original) = (1.0, 4.0, 8192.0);
    let rule = |i: usize| -> f64 {
        let wavelength = std::f64::consts::TAU * theta.powf(i as f64 / factors.len() as f64);
        if wavelength < original / high {
            return 1.0;
        }
        if wavelength > original / low {
            return factor.into();
        }
        let smooth = (original / wavelength - low) / (high - low);
        1.0 / ((1.0 - smooth) / f64::from(factor) + smooth)
    };
    let near = |(i, found): (usize, &f32)| (rule(i) - f64::from(*found)).abs() <= 1e-3 * rule(i);
    match factor >= 1.0 && factors.iter().enumerate().all(near) {
        true => Ok(Some(json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low,
            "high_freq_factor": high, "original_max_position_embeddings": original}))),
        false => {
            let problem = "changes rotary frequencies otherwise than Llama 3.1 does".to_string();
            Err(unusable(TENSOR, problem))
        }
    }
}

/// Whether a `config.json` says which model it is; that of many GGUF repositories is a stub.
pub fn names_an_architecture(config: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(config) {
        Ok(config) => {
            let names = config.get("architectures").and_then(Value::as_array);
            names.is_some_and(|names| !names.is_empty())
        }
        // What is wrong with it is told where it is read.
        Err(_) => true,
    }
}
