//! A model's family, shapes and tensors, from its headers alone.

use std::collections::BTreeSet;

use grating_io::{Checkpoint, TensorInfo};
use grating_model::{Identity, LoadOptions, LoadedModel, Part};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;
use crate::source::ModelSource;

/// What a model is. Sizes in bytes as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Folder, hub id or `default`.
    pub name: String,
    /// Model family, e.g. `Qwen3`.
    pub family: &'static str,
    /// As in `config.json`, e.g. `Qwen3ForCausalLM`.
    pub architecture: String,
    /// How a hidden state becomes a score.
    pub head: &'static str,
    /// How query and text become one sequence: `pair` or `prompt`.
    pub template: &'static str,
    /// Whether the template has a place for an instruction; without one, instructions have no effect.
    pub instruction: bool,
    /// The prompt that texts go into, in words.
    pub prompt: String,
    /// Which of the model's files say so.
    pub prompt_reason: String,
    /// What `CrossEncoder.predict` of sentence-transformers makes of a score, where the files say it: `Sigmoid`
    /// (which is [`Ranked::score`](crate::Ranked::score)), `Identity` (which is its raw score) or another.
    pub activation: Option<String>,
    /// What scores are divided by before they become probabilities (`temperature` in `grating.json`); as a rule 1.
    pub temperature: f32,
    /// What to look at in the model's files, and why the processor computes where a device was looked for.
    pub warnings: Vec<String>,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Rows of the token-embedding table.
    pub vocab: usize,
    /// Entries of the tokenizer.
    pub tokenizer_vocab: usize,
    /// Most tokens of a candidate as set.
    pub max_length: usize,
    /// Most tokens that the model has positions for.
    pub max_positions: usize,
    /// Types of the stored weights, e.g. `BF16` or `F16, F32`.
    pub dtype: String,
    /// Stored numbers.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Bytes of the largest layer.
    pub layer_bytes: u64,
    /// Bytes of the token-embedding table.
    pub embedding_bytes: u64,
    /// Bytes of the head that are read.
    pub head_bytes: u64,
}

impl ModelInfo {
    pub(crate) fn new(name: &str, checkpoint: &Checkpoint, loaded: &LoadedModel) -> Self {
        let LoadedModel { model, encoder, identity, temperature, .. } = loaded;
        let identity: Identity = identity.clone();
        let config = model.config();
        let bytes = |parts: &[Part]| parts.iter().map(|p| p.byte_len() as u64).sum::<u64>();
        let dtypes: BTreeSet<String> = checkpoint.tensors().map(|t| t.dtype.to_string()).collect();
        ModelInfo {
            name: name.to_string(),
            family: config.family.name(),
            architecture: config.architecture.clone(),
            head: config.form.name(),
            template: if encoder.is_prompt() { "prompt" } else { "pair" },
            instruction: encoder.has_instruction(),
            prompt: identity.prompt,
            prompt_reason: identity.reason,
            activation: identity.activation,
            temperature: *temperature,
            warnings: identity.warnings,
            layers: config.layers,
            hidden: config.hidden,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            intermediate: config.intermediate,
            vocab: config.vocab,
            tokenizer_vocab: encoder.vocab_size(),
            max_length: encoder.max_tokens(),
            max_positions: config.max_positions,
            dtype: dtypes.into_iter().collect::<Vec<_>>().join(", "),
            parameters: checkpoint.tensors().map(|t| t.elements() as u64).sum(),
            weight_bytes: checkpoint.data_bytes(),
            layer_bytes: (0..config.layers).map(|i| bytes(model.layer_parts(i))).max().unwrap_or(0),
            embedding_bytes: model.token_embeddings().byte_len() as u64,
            head_bytes: bytes(model.head_parts()),
        }
    }
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// File that holds it.
    pub file: String,
    /// First byte within the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

impl TensorReport {
    fn new(tensor: &TensorInfo, checkpoint: &Checkpoint) -> Self {
        TensorReport {
            name: tensor.name.clone(),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.clone(),
            file: checkpoint.shards()[tensor.shard].name().to_string(),
            offset: tensor.range.start,
            bytes: tensor.byte_len(),
        }
    }
}

/// A checkpoint's tensors, and the model they make, if they make one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelReport {
    /// The model, if it can be run.
    pub info: Option<ModelInfo>,
    /// Why not, if it cannot.
    pub problem: Option<String>,
    /// All tensors by name.
    pub tensors: Vec<TensorReport>,
}

/// Reads a model's headers and reports what is there, usable or not.
///
/// # Errors
/// When there are no weights to report on.
pub fn inspect(source: &ModelSource) -> Result<ModelReport> {
    let files = files::open(source, crate::builder::fetch_quietly)?;
    let loaded = files.load(LoadOptions::default());
    let (info, problem) = match loaded {
        Ok(loaded) => (Some(ModelInfo::new(&files.name, &files.checkpoint, &loaded)), None),
        Err(source) => (None, Some(Error::of_model(&files.name, source).to_string())),
    };
    let tensors =
        files.checkpoint.tensors().map(|t| TensorReport::new(t, &files.checkpoint)).collect();
    Ok(ModelReport { info, problem, tensors })
}
