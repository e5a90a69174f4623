//! Cross-encoder rerankers, from text to score, layer by layer.
//!
//! # Brief overview
//!
//! A [`TextEncoder`] turns a query and a text into token ids under the model's own [`Template`]. A [`Model`] knows
//! which bytes of a checkpoint make up the stem, each layer and the head ([`Part`]), and has the functions that
//! run on them: [`Model::embed`], [`Model::attend`], [`Model::feed`], [`Model::scores`]. Those are written over
//! `grating_backend::Ops`, a small vocabulary of tensor operations; `CpuOps` of `grating-cpu` is its fast implementation,
//! `CandleOps` of `grating-candle` the reference.
//!
//! The crate has no threads, no budgets and no cache, and does not know where bytes come from: the caller brings one
//! layer after the other and keeps the hidden states, so that a whole pool can go through layer `i` before any of it
//! enters `i + 1`.
//!
//! # Example
//!
//! Scores two texts with a model that is read one layer at a time.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use grating_backend::{Backend, Ops, Precision};
//! use grating_cpu::{CpuOps, Isa};
//! use grating_io::Checkpoint;
//! use grating_model::{LayerWeights, LoadOptions, LoadedModel, Part, PartBuffer, SideFiles};
//!
//! let folder = std::path::Path::new("path/to/model");
//! let checkpoint = Checkpoint::open(folder)?;
//! let (config, tokenizer) = (std::fs::read(folder.join("config.json"))?, std::fs::read(folder.join("tokenizer.json"))?);
//! let (files, options) = (SideFiles::default(), LoadOptions::default());
//! let LoadedModel { model, encoder, .. } =
//!     LoadedModel::load(&config, &tokenizer, None, &files, &checkpoint, options)?;
//!
//! let query = encoder.encode_query("what is a window", None)?;
//! let texts = [encoder.encode(&query, "two layers of weights")?, encoder.encode(&query, "a cat")?];
//!
//! let ops = CpuOps::new(Isa::detect(), Precision::Full);
//! let read = |parts: &[Part]| PartBuffer::read(&checkpoint, parts).map(Arc::new);
//! let (stem_bytes, head_bytes) = (read(model.stem_parts())?, read(model.head_parts())?);
//! let (stem, head) = (ops.admit(stem_bytes.clone(), None)?, ops.admit(head_bytes, None)?);
//! let stem = model.stem(&LayerWeights::new(&ops, &stem, model.stem_parts()), &*stem_bytes)?;
//! let head = model.head(&LayerWeights::new(&ops, &head, model.head_parts()))?;
//! let rows = model.ragged(texts.iter().map(|t| t.ids.len()), 0);
//! let pass = model.context(&ops, &stem, rows.longest())?;
//! let layout = pass.layout(&ops, &rows)?;
//! let chunk = pass.chunk(&layout, None);
//! let mut hidden = model.embed(&ops, &stem, &mut checkpoint.clone(), &texts)?;
//! for layer in 0..model.config().layers {
//!     let slot = ops.admit(read(model.layer_parts(layer))?, None)?;
//!     let weights = LayerWeights::new(&ops, &slot, model.layer_parts(layer));
//!     hidden = model.attend(&ops, &model.attention(layer, &weights)?, hidden, &chunk)?;
//!     hidden = model.feed(&ops, &model.feed_forward(layer, &weights)?, hidden)?;
//! }
//! let scored = model.pooled(&ops, &head, &hidden, &layout)?;
//! for score in model.scores(&ops, &head, model.config().layers - 1, &scored)?.expect("the last layer scores") {
//!     println!("{score} {}", score.probability());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod compression;
mod config;
mod context;
mod embedding;
mod error;
mod families;
mod gguf_files;
mod head;
mod identity;
mod layers;
mod llama_cpp;
mod load;
mod model;
mod parts;
mod rope;
mod score;
mod side_files;
mod spec;
mod template;
mod tokenize;
mod weights;

pub use compression::TokenCompression;
pub use config::{Form, ModelConfig};
pub use context::{ChunkContext, ChunkLayout, KeysValues, PassContext};
pub use embedding::{RowSource, Stem};
pub use error::{ModelError, Result};
pub use families::Family;
pub use gguf_files::{GgufFiles, GgufTokenizer, names_an_architecture};
pub use head::{Answers, Head};
pub use identity::{Identity, PromptSource, refuse_adapter};
pub use layers::{Attention, FeedForward, Mass, Paid, PaidBy};
pub use load::{LoadOptions, LoadedModel};
pub use model::Model;
pub use parts::{Part, PartBuffer};
pub use score::{Logit, Probability};
pub use side_files::{ModelName, SideFiles};
pub use template::{Answer, GratingJson, PairTemplate, Template, Words, YesNoTemplate};
pub use tokenize::{
    EncodeOptions, EncodedQuery, Encoding, Passage, PassageLimits, PassageReader, TextEncoder,
    TokenLimits, TokenizeError, TokenizerFiles, Wanted, tokenizer_differences, wordpiece_json,
};
pub use weights::{LayerWeights, TensorView, format_of, quantize};
