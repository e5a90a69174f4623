//! Cross-encoder rerankers, from text to score, layer by layer.
//!
//! # Brief overview
//!
//! A [`TextEncoder`] turns a query and a text into token ids under the model's own [`Template`]. A [`Model`] knows
//! which bytes of a checkpoint make up the stem, each layer and the head ([`Part`]), and has the functions that
//! run on them: [`Model::embed`], [`Model::attend`], [`Model::feed`], [`Model::scores`]. Those are written over
//! [`Ops`], a small vocabulary of tensor operations; [`CpuOps`] is its fast implementation,
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
//! use grating_io::Checkpoint;
//! use grating_model::{CpuOps, Isa, LoadOptions, LoadedModel, Ops, Part, PartBuffer, Precision, Ragged, SideFiles};
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
//! let read = |parts: &[Part]| {
//!     let mut buffer = PartBuffer::new();
//!     buffer.fill(&checkpoint, parts).map(|_| buffer)
//! };
//! let (stem, head) = (read(model.stem_parts())?, read(model.head_parts())?);
//! let stem = model.stem(&ops, &stem.views(model.stem_parts())?)?;
//! let head = model.head(&ops, &head.views(model.head_parts())?)?;
//! let ragged = Ragged::from_lengths(texts.iter().map(|t| t.ids.len()));
//! let request = model.context(&ops, ragged.longest())?;
//! let chunk = request.chunk(&ragged, None);
//! let mut hidden = model.embed(&ops, &stem, &mut checkpoint.clone(), &texts)?;
//! for layer in 0..model.config().layers {
//!     let bytes = read(model.layer_parts(layer))?;
//!     let weights = bytes.views(model.layer_parts(layer))?;
//!     hidden = model.attend(&ops, &model.attention(&ops, &weights)?, hidden, &chunk)?;
//!     hidden = model.feed(&ops, &model.feed_forward(&ops, &weights)?, hidden)?;
//! }
//! let scored = ops.select_rows(&hidden, &model.scored_rows(&ragged))?;
//! for score in model.scores(&ops, &head, &scored)? {
//!     println!("{score} {}", score.probability());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod config;
mod context;
mod error;
mod families;
mod gguf_files;
mod gguf_names;
mod head;
mod identity;
mod load;
mod model;
mod ops;
mod parts;
mod precision;
mod ragged;
mod rope;
mod score;
mod side_files;
mod template;
mod tokenize;
mod weights;

pub use config::{Family, Form, ModelConfig, Positions, RopeScaling};
pub use context::{ChunkContext, KeysValues, RequestContext};
pub use error::{ModelError, Result};
pub use gguf_files::{GgufFiles, GgufTokenizer, names_an_architecture};
pub use grating_kernels::attention::{Heads, Span};
pub use grating_kernels::rows::Activation;
pub use grating_kernels::{Isa, IsaError};
pub use head::{Answers, Head, Stem};
pub use identity::{Identity, PromptSource, refuse_adapter};
pub use load::{LoadOptions, LoadedModel};
pub use model::{Attention, FeedForward, Model, RowSource};
pub use ops::cpu::{CpuOps, CpuTensor, CpuWeight, OperationTimes};
pub use ops::{Affine, Ops};
pub use parts::{Part, PartBuffer};
pub use precision::{Precision, UnknownPrecision};
pub use ragged::Ragged;
pub use score::{Logit, Probability};
pub use side_files::{ModelName, SideFiles};
pub use template::{Answer, GratingJson, PairTemplate, Template, YesNoTemplate};
pub use tokenize::{
    EncodeOptions, EncodedQuery, Encoding, TextEncoder, TokenizeError, TokenizerFiles,
    tokenizer_differences, wordpiece_json,
};
pub use weights::{LayerWeights, TensorView, quantize};
