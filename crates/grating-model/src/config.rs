//! `config.json` as data: which family, which form, which sizes. Nothing is assumed that the file can say.

use grating_io::shown;
use grating_kernels::rows::Activation;
use serde::Deserialize;

use crate::error::{ModelError, Result};

/// The model families of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Qwen3 decoders, per-head RMSNorm on queries and keys (Qwen3-Reranker).
    Qwen3,
    /// Qwen2 decoders, biases on q, k and v (mxbai-rerank-v2 and plain models).
    Qwen2,
    /// Llama decoders (SmolLM2, Llama 3).
    Llama,
    /// XLM-RoBERTa encoders (BGE rerankers).
    XlmRoberta,
    /// BERT encoders (MiniLM, TinyBERT).
    Bert,
}

impl Family {
    /// The family's name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Qwen3 => "Qwen3",
            Family::Qwen2 => "Qwen2",
            Family::Llama => "Llama",
            Family::XlmRoberta => "XLM-RoBERTa",
            Family::Bert => "BERT",
        }
    }

    /// Whether layers are causal decoders.
    pub fn is_decoder(self) -> bool {
        matches!(self, Family::Qwen3 | Family::Qwen2 | Family::Llama)
    }
}

/// How a hidden state becomes a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `logit(yes) - logit(no)` of a language-model head at the last position.
    YesNo,
    /// A classification head with one label.
    SequenceClassification,
}

impl Form {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Form::YesNo => "yes/no language-model head",
            Form::SequenceClassification => "sequence classification, one label",
        }
    }
}

/// How positions enter the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Positions {
    /// Rotary embedding of queries and keys.
    Rope {
        /// Base of the frequencies.
        theta: f64,
        /// Change of the frequencies for longer contexts.
        scaling: RopeScaling,
    },
    /// A learned row per position.
    Absolute {
        /// Row of the first token (`padding_idx + 1` in the RoBERTa line, else 0).
        offset: usize,
    },
}

/// Change of rotary frequencies for contexts longer than trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's rule (`_compute_llama3_parameters` in transformers).
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Below `original / low_freq_factor` wavelengths are interpolated.
        low_freq_factor: f64,
        /// Above `original / high_freq_factor` wavelengths are kept.
        high_freq_factor: f64,
        /// Context length of the pre-training.
        original: f64,
    },
}

/// Everything that the layers, embeddings and heads need to know of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which family.
    pub family: Family,
    /// Which head.
    pub form: Form,
    /// As written in the file, e.g. `Qwen3ForCausalLM`.
    pub architecture: String,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; `heads * head_dim` need not be `hidden`.
    pub head_dim: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Rows of the token-embedding table.
    pub vocab: usize,
    /// Largest number of tokens of a candidate.
    pub max_positions: usize,
    /// Rows of the token-type table (encoders; else 0).
    pub type_vocab: usize,
    /// Feed-forward non-linearity.
    pub activation: Activation,
    /// Epsilon of RMSNorm or LayerNorm.
    pub norm_eps: f32,
    /// Whether the language-model head is the embedding table.
    pub tied: bool,
    /// How positions enter.
    pub positions: Positions,
    /// `pad_token_id`. In a text it has no position of its own in the RoBERTa line, and decoders with a classification
    /// head do not score it.
    pub padding: Option<u32>,
    /// Bias on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention output projection.
    pub output_bias: bool,
    /// Bias in the feed-forward block.
    pub mlp_bias: bool,
    /// The tokenizer's class in transformers, where this file names one.
    pub tokenizer_class: Option<String>,
    /// Whether the rotary embedding turns neighbours of a head, not its halves against each other: llama.cpp stores
    /// the rows of Llama's query and key matrices in that order.
    pub rotary_neighbours: bool,
    /// Whether the rows of the two answers are stored by themselves, and are all that there is of the language-model
    /// head: llama.cpp's conversion of rerankers does so.
    pub answers_apart: bool,
}

#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    num_hidden_layers: Option<usize>,
    hidden_size: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    layer_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    pad_token_id: Option<i64>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    position_embedding_type: Option<String>,
    tokenizer_class: Option<String>,
    use_sliding_window: Option<bool>,
    num_labels: Option<usize>,
    id2label: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize, Default, Clone)]
struct RawRope {
    rope_type: Option<String>,
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

/// Architectures and what they mean, in the order of the error message.
const ARCHITECTURES: [(&str, Family, Form); 8] = [
    ("Qwen3ForCausalLM", Family::Qwen3, Form::YesNo),
    ("Qwen3ForSequenceClassification", Family::Qwen3, Form::SequenceClassification),
    ("XLMRobertaForSequenceClassification", Family::XlmRoberta, Form::SequenceClassification),
    ("BertForSequenceClassification", Family::Bert, Form::SequenceClassification),
    ("Qwen2ForCausalLM", Family::Qwen2, Form::YesNo),
    ("Qwen2ForSequenceClassification", Family::Qwen2, Form::SequenceClassification),
    ("LlamaForCausalLM", Family::Llama, Form::YesNo),
    ("LlamaForSequenceClassification", Family::Llama, Form::SequenceClassification),
];

fn supported() -> String {
    ARCHITECTURES.map(|(name, ..)| name).join(", ")
}

/// Sizes past which a `config.json` is taken for damaged rather than large.
const MAX_LAYERS: usize = 1024;
const MAX_WIDTH: usize = 1 << 20;
const MAX_ROWS: usize = 1 << 26;

impl ModelConfig {
    /// Where llama.cpp's conversion changes weights: Llama's rows of queries and keys go by neighbours, and the rows of
    /// the position table that no token has are gone.
    pub(crate) fn follow_llama_cpp(&mut self) {
        self.rotary_neighbours = self.family == Family::Llama;
        if let Positions::Absolute { offset } = &mut self.positions {
            *offset = 0;
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Json`], [`ModelError::UnknownArchitecture`], or [`ModelError::Config`] naming the field.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let raw: Raw = serde_json::from_slice(json)
            .map_err(|e| ModelError::Json { file: "config.json", reason: shown(&e.to_string()) })?;
        let (architecture, family, form) = raw.architecture()?;
        raw.refuse_what_is_not_implemented(family)?;
        if form == Form::SequenceClassification {
            raw.one_label()?;
        }

        let hidden = raw.size("hidden_size", raw.hidden_size, MAX_WIDTH)?;
        let heads = raw.size("num_attention_heads", raw.num_attention_heads, MAX_WIDTH)?;
        let kv_heads = match raw.num_key_value_heads {
            Some(n) if family.is_decoder() => {
                raw.size("num_key_value_heads", Some(n), MAX_WIDTH)?
            }
            _ => heads,
        };
        if heads % kv_heads != 0 {
            return Err(field(
                "num_key_value_heads",
                format!("a divisor of {heads} heads"),
                kv_heads,
            ));
        }
        let head_dim = match raw.head_dim {
            Some(d) if family.is_decoder() => raw.size("head_dim", Some(d), MAX_WIDTH)?,
            _ if hidden % heads == 0 => hidden / heads,
            _ => {
                let expected = format!("a divisor of hidden_size {hidden}");
                return Err(field("num_attention_heads", expected, heads));
            }
        };
        if family.is_decoder() && head_dim % 2 != 0 {
            return Err(field(
                "head_dim",
                "an even number (rotary embedding turns pairs)",
                head_dim,
            ));
        }
        let max_positions =
            raw.size("max_position_embeddings", raw.max_position_embeddings, MAX_ROWS)?;
        let positions = raw.positions(family)?;
        let usable_positions = match positions {
            Positions::Absolute { offset } => max_positions.saturating_sub(offset),
            Positions::Rope { .. } => max_positions,
        };
        if usable_positions == 0 {
            return Err(field("max_position_embeddings", "room for one token", max_positions));
        }
        let attention_bias = raw.attention_bias.unwrap_or(false);
        Ok(ModelConfig {
            family,
            form,
            architecture,
            layers: raw.size("num_hidden_layers", raw.num_hidden_layers, MAX_LAYERS)?,
            hidden,
            heads,
            kv_heads,
            head_dim,
            intermediate: raw.size("intermediate_size", raw.intermediate_size, MAX_WIDTH)?,
            vocab: raw.size("vocab_size", raw.vocab_size, MAX_ROWS)?,
            max_positions: usable_positions,
            type_vocab: match family.is_decoder() {
                true => 0,
                false => {
                    raw.size("type_vocab_size", Some(raw.type_vocab_size.unwrap_or(2)), MAX_ROWS)?
                }
            },
            activation: raw.activation(family)?,
            norm_eps: raw.norm_eps(family)?,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            positions,
            padding: raw.padding(family),
            qkv_bias: match family {
                Family::Qwen2 | Family::Bert | Family::XlmRoberta => true,
                Family::Qwen3 | Family::Llama => attention_bias,
            },
            output_bias: match family {
                Family::Qwen2 => false,
                Family::Bert | Family::XlmRoberta => true,
                Family::Qwen3 | Family::Llama => attention_bias,
            },
            mlp_bias: match family {
                Family::Llama => raw.mlp_bias.unwrap_or(false),
                Family::Bert | Family::XlmRoberta => true,
                Family::Qwen3 | Family::Qwen2 => false,
            },
            rotary_neighbours: false,
            answers_apart: false,
            tokenizer_class: raw.tokenizer_class,
        })
    }
}

impl Raw {
    fn architecture(&self) -> Result<(String, Family, Form)> {
        let Some(found) = self.architectures.iter().flatten().next().cloned() else {
            return Err(ModelError::NoArchitecture { supported: supported() });
        };
        match ARCHITECTURES.iter().find(|(name, ..)| *name == found) {
            Some(&(_, family, form)) => Ok((found, family, form)),
            None => {
                let found = shown(&found);
                Err(ModelError::UnknownArchitecture { found, supported: supported() })
            }
        }
    }

    fn refuse_what_is_not_implemented(&self, family: Family) -> Result<()> {
        if let Some(kind) = &self.position_embedding_type
            && !family.is_decoder()
            && kind != "absolute"
        {
            return Err(field("position_embedding_type", "absolute", kind));
        }
        if self.use_sliding_window == Some(true) {
            return Err(field("use_sliding_window", "false", true));
        }
        Ok(())
    }

    fn one_label(&self) -> Result<()> {
        // transformers writes the labels as id2label, and num_labels only in older files; it defaults to two.
        let labels = self.id2label.as_ref().map(|m| m.len()).or(self.num_labels);
        match labels {
            Some(1) => Ok(()),
            found => {
                let found =
                    found.map_or("absent (two labels by default)".to_string(), |n| n.to_string());
                Err(field("id2label / num_labels", "one label, as a reranker has", found))
            }
        }
    }

    fn size(&self, name: &'static str, value: Option<usize>, most: usize) -> Result<usize> {
        match value {
            Some(n) if (1..=most).contains(&n) => Ok(n),
            Some(n) => Err(field(name, format!("1 to {most}"), n)),
            None => Err(field(name, format!("a number from 1 to {most}"), "absent")),
        }
    }

    fn activation(&self, family: Family) -> Result<Activation> {
        let default = if family.is_decoder() { "silu" } else { "gelu" };
        match self.hidden_act.as_deref().unwrap_or(default) {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => {
                Err(field("hidden_act", "silu, gelu, gelu_new, gelu_pytorch_tanh or relu", other))
            }
        }
    }

    /// Families of RoBERTa's line have one by default (`XLMRobertaConfig`).
    fn padding(&self, family: Family) -> Option<u32> {
        let default = (family == Family::XlmRoberta).then_some(1);
        self.pad_token_id.or(default).and_then(|id| u32::try_from(id).ok())
    }

    fn norm_eps(&self, family: Family) -> Result<f32> {
        // Defaults are transformers' own for the family.
        let (name, eps) = match family.is_decoder() {
            true => ("rms_norm_eps", self.rms_norm_eps.unwrap_or(1e-6)),
            false => ("layer_norm_eps", self.layer_norm_eps.unwrap_or(1e-12)),
        };
        if !(eps.is_finite() && eps > 0.0 && eps < 1.0) {
            return Err(field(name, "a small positive number", eps));
        }
        Ok(eps as f32)
    }

    fn positions(&self, family: Family) -> Result<Positions> {
        if !family.is_decoder() {
            let offset = match family {
                Family::XlmRoberta => self.pad_token_id.unwrap_or(1) + 1,
                _ => 0,
            };
            let offset = usize::try_from(offset).map_err(|_| {
                field("pad_token_id", "a token id", self.pad_token_id.unwrap_or(-1))
            })?;
            return Ok(Positions::Absolute { offset });
        }
        let rope =
            self.rope_parameters.clone().or_else(|| self.rope_scaling.clone()).unwrap_or_default();
        // 10000 is transformers' default where neither spelling is there.
        let theta = rope.rope_theta.or(self.rope_theta).unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 1.0) {
            return Err(field("rope_theta", "a number above 1", theta));
        }
        if let Some(part) = rope.partial_rotary_factor
            && part != 1.0
        {
            return Err(field("partial_rotary_factor", "1", part));
        }
        Ok(Positions::Rope { theta, scaling: rope.scaling()? })
    }
}

impl RawRope {
    fn scaling(&self) -> Result<RopeScaling> {
        let positive = |name: &'static str, value: Option<f64>| match value {
            Some(v) if v.is_finite() && v > 0.0 => Ok(v),
            Some(v) => Err(field(name, "a positive number", v)),
            None => Err(field(name, "a positive number", "absent")),
        };
        match self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => {
                Ok(RopeScaling::Linear { factor: positive("rope_scaling.factor", self.factor)? })
            }
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: positive("rope_scaling.factor", self.factor)?,
                low_freq_factor: positive("rope_scaling.low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: positive("rope_scaling.high_freq_factor", self.high_freq_factor)?,
                original: positive(
                    "rope_scaling.original_max_position_embeddings",
                    self.original_max_position_embeddings,
                )?,
            }),
            other => Err(field("rope_scaling.rope_type", "default, linear or llama3", other)),
        }
    }
}

fn field(
    field: &'static str,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> ModelError {
    ModelError::Config { field, expected: expected.into(), found: shown(&found.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &str) -> Result<ModelConfig> {
        let mut base: serde_json::Value = serde_json::from_str(
            r#"{"architectures":["Qwen3ForCausalLM"],"num_hidden_layers":2,"hidden_size":24,
            "num_attention_heads":3,"num_key_value_heads":1,"head_dim":10,"intermediate_size":40,
            "vocab_size":100,"max_position_embeddings":128,"rope_theta":1e6}"#,
        )
        .unwrap();
        let changes: serde_json::Value = serde_json::from_str(changes).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            base[key] = value.clone();
        }
        ModelConfig::from_json(base.to_string().as_bytes())
    }

    #[test]
    fn reads_sizes_that_do_not_multiply_up() {
        let config = with("{}").unwrap();
        assert_eq!((config.heads, config.kv_heads, config.head_dim), (3, 1, 10));
        assert_eq!(config.positions, Positions::Rope { theta: 1e6, scaling: RopeScaling::None });
        assert!(!config.tied);
    }

    #[test]
    fn both_spellings_of_rope_agree() {
        let new = with(
            r#"{"rope_theta":null,"rope_parameters":{"rope_theta":5e5,"rope_type":"default"}}"#,
        );
        assert_eq!(new.unwrap().positions, with(r#"{"rope_theta":5e5}"#).unwrap().positions);
    }

    #[test]
    fn each_bad_field_is_named() {
        for (change, name) in [
            (r#"{"hidden_size":0}"#, "hidden_size"),
            (r#"{"num_hidden_layers":null}"#, "num_hidden_layers"),
            (r#"{"num_key_value_heads":2}"#, "num_key_value_heads"),
            (r#"{"head_dim":9}"#, "head_dim"),
            (r#"{"hidden_act":"tanhshrink"}"#, "hidden_act"),
            (r#"{"rope_scaling":{"rope_type":"yarn","factor":4.0}}"#, "rope_scaling.rope_type"),
            (r#"{"use_sliding_window":true}"#, "use_sliding_window"),
            (r#"{"vocab_size":18446744073709551615}"#, "vocab_size"),
            (r#"{"rms_norm_eps":-1}"#, "rms_norm_eps"),
        ] {
            match with(change) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, name),
                other => panic!("{change}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_classifier_with_two_labels_is_no_reranker() {
        let two =
            r#"{"architectures":["BertForSequenceClassification"],"id2label":{"0":"a","1":"b"}}"#;
        assert!(matches!(
            with(two),
            Err(ModelError::Config { field: "id2label / num_labels", .. })
        ));
    }

    #[test]
    fn a_config_without_an_architecture_is_told_what_to_add() {
        for change in [r#"{"architectures":null}"#, r#"{"architectures":[]}"#] {
            let error = with(change).unwrap_err();
            assert!(matches!(error, ModelError::NoArchitecture { .. }), "{error}");
            assert!(error.to_string().contains(r#"["Qwen3ForCausalLM"]"#), "{error}");
        }
    }

    #[test]
    fn unknown_architectures_are_refused_with_the_list() {
        let error = with(r#"{"architectures":["MambaForCausalLM"]}"#).unwrap_err().to_string();
        assert!(
            error.contains("MambaForCausalLM") && error.contains("Qwen3ForCausalLM"),
            "{error}"
        );
    }
}
