//! `config.json` as data: which family, which form, which sizes. Nothing is assumed that the file can say.

mod bert;
mod family;
mod heads;
mod llama;
mod qwen2;
mod qwen3;
mod raw;
mod rope;
#[cfg(test)]
mod tests;
mod xlm_roberta;

use grating_backend::Activation;
use grating_io::shown;

use self::family::FamilyConfig;
use self::heads::HeadShape;
use self::raw::{MAX_LAYERS, MAX_ROWS, MAX_WIDTH, Raw, field};
use crate::error::{ModelError, Result};

/// The model families of this crate. What a family reads of `config.json` in its own way stands in its own file.
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
        FamilyConfig::of(self).name
    }

    /// Whether layers are causal decoders.
    pub fn is_decoder(self) -> bool {
        FamilyConfig::of(self).decoder
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
        let (architecture, of, form) = raw.architecture()?;
        raw.refuse_what_is_not_implemented(of.decoder)?;
        if form == Form::SequenceClassification {
            raw.one_label()?;
        }

        let HeadShape { hidden, heads, kv_heads, head_dim } = raw.heads(of.decoder)?;
        let max_positions =
            raw.size("max_position_embeddings", raw.max_position_embeddings, MAX_ROWS)?;
        let positions = (of.positions)(&raw)?;
        let usable_positions = match positions {
            Positions::Absolute { offset } => max_positions.saturating_sub(offset),
            Positions::Rope { .. } => max_positions,
        };
        if usable_positions == 0 {
            return Err(field("max_position_embeddings", "room for one token", max_positions));
        }
        Ok(ModelConfig {
            family: of.family,
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
            type_vocab: match of.type_vocab {
                None => 0,
                Some(default) => {
                    let rows = raw.type_vocab_size.unwrap_or(default);
                    raw.size("type_vocab_size", Some(rows), MAX_ROWS)?
                }
            },
            activation: raw.activation(of.activation)?,
            norm_eps: (of.norm_eps)(&raw)?,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            positions,
            padding: raw.pad_token_id.or(of.padding).and_then(|id| u32::try_from(id).ok()),
            qkv_bias: (of.qkv_bias)(&raw),
            output_bias: (of.output_bias)(&raw),
            mlp_bias: (of.mlp_bias)(&raw),
            rotary_neighbours: false,
            answers_apart: false,
            tokenizer_class: raw.tokenizer_class,
        })
    }
}
