//! The public models' shapes, as data.

use anyhow::{Result, bail};

/// Which architecture a shape is; decides tensor names, config.json and the kind of tokenizer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// `Qwen3ForCausalLM`: per-head norms on q and k, no biases.
    Qwen3,
    /// `Qwen2ForCausalLM`: biases on q, k and v.
    Qwen2,
    /// `LlamaForCausalLM`: no biases.
    Llama,
    /// `LayerWiseMiniCPMForCausalLM`: as Llama, with a row for each layer from [`START_LAYER`] on in place of a head.
    MiniCpm,
    /// `GemmaForCausalLM`: as Llama, with norms that count from one.
    Gemma,
    /// `CostWiseGemmaForCausalLM`: Gemma 2, with a row for each layer from [`START_LAYER`] on in place of a head.
    Gemma2,
    /// `XLMRobertaForSequenceClassification`.
    XlmRoberta,
    /// `BertForSequenceClassification`.
    Bert,
    /// `ElectraForSequenceClassification`, embeddings as wide as the layers.
    Electra,
    /// `DistilBertForSequenceClassification`.
    DistilBert,
    /// `ModernBertForSequenceClassification`, the mean of all tokens scored.
    ModernBert,
    /// `NewForSequenceClassification`, as GTE's checkpoints bring it.
    Gte,
    /// `DebertaV2ForSequenceClassification`, as v3 has it.
    DebertaV2,
}

/// Layers before the first head of models that have one for each of the later layers.
pub(crate) const START_LAYER: usize = 8;

/// What MiniCPM multiplies embeddings by, and, over the root of the number of layers, what its blocks add.
pub(crate) const SCALE_EMB: f64 = 12.0;
pub(crate) const SCALE_DEPTH: f64 = 1.4;

/// Element type of the written weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Dtype {
    /// bfloat16
    Bf16,
    /// IEEE half precision
    F16,
    /// IEEE single precision
    F32,
}

impl Dtype {
    /// Bytes of one element.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name in a safetensors header.
    pub(crate) fn safetensors(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    /// The name in a config.json.
    pub(crate) fn torch(self) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
        }
    }
}

/// Everything that config.json and the tensors' shapes derive from.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// What `--shape` calls it.
    pub(crate) name: &'static str,
    /// The public model that has this shape, or what it is for.
    pub(crate) of: &'static str,
    pub(crate) family: Family,
    /// Transformer blocks.
    pub(crate) layers: usize,
    /// Width of the hidden state.
    pub(crate) hidden: usize,
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads (grouped-query attention).
    pub(crate) kv_heads: usize,
    /// Width of one head.
    pub(crate) head_dim: usize,
    /// Inner width of the feed-forward block.
    pub(crate) feed_forward: usize,
    /// Rows of the token embedding.
    pub(crate) vocab: usize,
    /// `max_position_embeddings`.
    pub(crate) positions: usize,
    /// The output head is the token embedding (decoders).
    pub(crate) tied: bool,
    /// The rotary base (decoders).
    pub(crate) rope_theta: f64,
    /// Epsilon of the norms.
    pub(crate) norm_eps: f64,
    /// The checkpoint holds the I64 `position_ids` buffer that older releases of transformers saved.
    pub(crate) position_ids: bool,
    /// The dtype the public checkpoint is in.
    pub(crate) dtype: Dtype,
}

const DECODER: Shape = Shape {
    name: "",
    of: "",
    family: Family::Qwen3,
    layers: 0,
    hidden: 0,
    heads: 0,
    kv_heads: 8,
    head_dim: 128,
    feed_forward: 0,
    vocab: 151_669,
    positions: 40_960,
    tied: true,
    rope_theta: 1e6,
    norm_eps: 1e-6,
    position_ids: false,
    dtype: Dtype::Bf16,
};

const XLM_ROBERTA: Shape = Shape {
    family: Family::XlmRoberta,
    layers: 24,
    hidden: 1024,
    heads: 16,
    kv_heads: 16,
    head_dim: 64,
    feed_forward: 4096,
    vocab: 250_002,
    positions: 514,
    norm_eps: 1e-5,
    position_ids: true,
    dtype: Dtype::F32,
    ..DECODER
};

const BERT: Shape = Shape {
    family: Family::Bert,
    hidden: 384,
    heads: 12,
    kv_heads: 12,
    head_dim: 32,
    feed_forward: 1536,
    vocab: 30_522,
    positions: 512,
    norm_eps: 1e-12,
    position_ids: true,
    dtype: Dtype::F32,
    ..DECODER
};

/// The base size of BERT's line.
const BASE: Shape = Shape {
    layers: 12,
    hidden: 768,
    head_dim: 64,
    feed_forward: 3072,
    position_ids: false,
    ..BERT
};

/// Every shape that `--shape` knows.
#[rustfmt::skip]
pub(crate) const SHAPES: [Shape; 21] = [
    Shape { name: "qwen3-0.6b", of: "Qwen/Qwen3-Reranker-0.6B", layers: 28, hidden: 1024, heads: 16, feed_forward: 3072, ..DECODER },
    Shape { name: "qwen3-4b", of: "Qwen/Qwen3-Reranker-4B", layers: 36, hidden: 2560, heads: 32, feed_forward: 9728, ..DECODER },
    Shape { name: "qwen3-8b", of: "Qwen/Qwen3-Reranker-8B", layers: 36, hidden: 4096, heads: 32, feed_forward: 12288, tied: false, ..DECODER },
    Shape { name: "qwen2.5-0.5b", of: "Qwen/Qwen2.5-0.5B-Instruct", family: Family::Qwen2, layers: 24, hidden: 896, heads: 14, kv_heads: 2, head_dim: 64, feed_forward: 4864, vocab: 151_936, positions: 32_768, ..DECODER },
    Shape { name: "smollm2-135m", of: "HuggingFaceTB/SmolLM2-135M-Instruct", family: Family::Llama, layers: 30, hidden: 576, heads: 9, kv_heads: 3, head_dim: 64, feed_forward: 1536, vocab: 49_152, positions: 8192, rope_theta: 1e5, norm_eps: 1e-5, ..DECODER },
    Shape { name: "bge-v2-minicpm", of: "BAAI/bge-reranker-v2-minicpm-layerwise", family: Family::MiniCpm, layers: 40, hidden: 2304, heads: 36, kv_heads: 36, head_dim: 64, feed_forward: 5760, vocab: 122_753, positions: 2048, tied: false, rope_theta: 1e4, norm_eps: 1e-5, ..DECODER },
    Shape { name: "bge-v2-gemma", of: "BAAI/bge-reranker-v2-gemma", family: Family::Gemma, layers: 18, hidden: 2048, heads: 8, kv_heads: 1, head_dim: 256, feed_forward: 16384, vocab: 256_000, positions: 8192, rope_theta: 1e4, ..DECODER },
    Shape { name: "bge-v2.5-gemma2", of: "BAAI/bge-reranker-v2.5-gemma2-lightweight", family: Family::Gemma2, layers: 42, hidden: 3584, heads: 16, head_dim: 256, feed_forward: 14336, vocab: 256_000, positions: 8192, rope_theta: 1e4, ..DECODER },
    Shape { name: "bge-v2-m3", of: "BAAI/bge-reranker-v2-m3", positions: 8194, position_ids: false, ..XLM_ROBERTA },
    Shape { name: "bge-base", of: "BAAI/bge-reranker-base", layers: 12, hidden: 768, heads: 12, kv_heads: 12, feed_forward: 3072, ..XLM_ROBERTA },
    Shape { name: "bge-large", of: "BAAI/bge-reranker-large", ..XLM_ROBERTA },
    Shape { name: "minilm-l6", of: "cross-encoder/ms-marco-MiniLM-L-6-v2", layers: 6, ..BERT },
    Shape { name: "minilm-l12", of: "cross-encoder/ms-marco-MiniLM-L-12-v2", layers: 12, ..BERT },
    Shape { name: "tinybert-l2", of: "cross-encoder/ms-marco-TinyBERT-L-2-v2", layers: 2, hidden: 128, heads: 2, kv_heads: 2, head_dim: 64, feed_forward: 512, ..BERT },
    Shape { name: "electra-base", of: "cross-encoder/ms-marco-electra-base", family: Family::Electra, ..BASE },
    Shape { name: "distilbert-base", of: "distilbert/distilbert-base-uncased with a head", family: Family::DistilBert, layers: 6, ..BASE },
    Shape { name: "gte-modernbert", of: "Alibaba-NLP/gte-reranker-modernbert-base", family: Family::ModernBert, layers: 22, feed_forward: 1152, vocab: 50_368, positions: 8192, norm_eps: 1e-5, dtype: Dtype::F16, ..BASE },
    Shape { name: "gte-multilingual", of: "Alibaba-NLP/gte-multilingual-reranker-base", family: Family::Gte, vocab: 250_048, positions: 8192, rope_theta: 2e4, dtype: Dtype::F16, ..BASE },
    Shape { name: "mxbai-base-v1", of: "mixedbread-ai/mxbai-rerank-base-v1", family: Family::DebertaV2, vocab: 128_100, norm_eps: 1e-7, dtype: Dtype::F16, ..BASE },
    Shape { name: "qwen3-tiny", of: "smoke tests, a megabyte", layers: 2, hidden: 64, heads: 4, kv_heads: 2, head_dim: 16, feed_forward: 192, vocab: 4096, ..DECODER },
    Shape { name: "bert-tiny", of: "smoke tests, a megabyte", layers: 2, hidden: 64, heads: 4, kv_heads: 4, head_dim: 16, feed_forward: 256, vocab: 4096, ..BERT },
];

impl Shape {
    /// The shape called `name`.
    pub(crate) fn named(name: &str) -> Result<Self> {
        match SHAPES.iter().find(|shape| shape.name == name) {
            Some(shape) => Ok(shape.clone()),
            None => bail!("no shape is called {name}; `cargo xtask models shapes` lists them"),
        }
    }

    /// Entries that the tokenizer holds: the embedding has padding rows beyond them in Qwen2.5.
    pub(crate) fn tokenizer_entries(&self) -> usize {
        if self.name == "qwen2.5-0.5b" && self.vocab == 151_936 { 151_665 } else { self.vocab }
    }
}
