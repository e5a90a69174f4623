//! `config.json` as data: which family, which form, which sizes. Nothing is assumed that the file can say.

mod heads;
mod raw;
mod rope;
#[cfg(test)]
mod tests;
pub(crate) mod traps;

use grating_io::shown;

use self::heads::HeadShape;
use self::raw::{MAX_LAYERS, MAX_ROWS, MAX_WIDTH};
use crate::error::{ModelError, Result};
use crate::families::Family;
use crate::spec::ModelSpec;

pub(crate) use self::raw::{Raw, field};
pub(crate) use self::rope::RopeReading;

/// How a hidden state becomes a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `logit(yes) - logit(no)` of a language-model head at the last position.
    YesNo,
    /// A classification head with one label.
    SequenceClassification,
    /// A head with one output for each of the later layers.
    LayerHeads,
}

impl Form {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Form::YesNo => "yes/no language-model head",
            Form::SequenceClassification => "sequence classification, one label",
            Form::LayerHeads => "a head for each of the later layers",
        }
    }
}

/// The sizes of a model and what else of `config.json` is asked for by name. What its layers are made of is in the specs
/// that its [family](Family) makes beside this.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// Whether the language-model head is the embedding table.
    pub tied: bool,
    /// The tokenizer's class in transformers, where this file names one.
    pub tokenizer_class: Option<String>,
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Json`], [`ModelError::UnknownArchitecture`], or [`ModelError::Config`] naming the field.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Ok(Self::with_spec(json)?.0)
    }

    /// Reads a `config.json`, and has its family make specs of it.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub(crate) fn with_spec(json: &[u8]) -> Result<(Self, ModelSpec)> {
        let mut raw: Raw = serde_json::from_slice(json)
            .map_err(|e| ModelError::Json { file: "config.json", reason: shown(&e.to_string()) })?;
        let (architecture, family, form) = raw.architecture()?;
        raw.refuse_what_is_not_implemented()?;
        raw.take_sizes(family.definition().size_names)?;
        if form == Form::SequenceClassification {
            raw.one_label()?;
        }
        let HeadShape { hidden, heads, kv_heads, head_dim } =
            raw.heads(family.definition().free_heads)?;
        let mut config = ModelConfig {
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
            max_positions: raw.size(
                "max_position_embeddings",
                raw.max_position_embeddings,
                MAX_ROWS,
            )?,
            tied: raw.tie_word_embeddings.unwrap_or(family.definition().tied),
            tokenizer_class: raw.tokenizer_class.clone(),
        };
        let spec = (family.definition().spec)(&raw, &config)?;
        if let Some(positions) = &spec.embedding.positions {
            // Of the table's rows the first ones are no token's.
            config.max_positions -= positions.first;
        }
        Ok((config, spec))
    }
}
