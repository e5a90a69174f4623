//! Cross-encoder rerankers, from text to score, layer by layer.
//!
//! # Brief overview
//!
//! A [`TextEncoder`] turns a query and a text into token ids under the model's own [`Template`]. A [`Model`] knows
//! which bytes of a checkpoint make up the stem, each layer and the head ([`Part`]), and has the functions that
//! run on them: [`Model::embed`], [`Model::forward`], [`Model::scores`]. Those are written over [`Ops`], a small
//! vocabulary of tensor operations; [`CandleOps`] is its reference implementation.
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
//! use grating_model::{CandleOps, LoadOptions, LoadedModel, PartBuffer, Ragged};
//!
//! let folder = std::path::Path::new("path/to/model");
//! let mut checkpoint = Checkpoint::open(folder)?;
//! let (config, tokenizer) = (std::fs::read(folder.join("config.json"))?, std::fs::read(folder.join("tokenizer.json"))?);
//! let LoadedModel { model, encoder } =
//!     LoadedModel::load(&config, &tokenizer, None, &checkpoint, LoadOptions::default())?;
//!
//! let query = encoder.encode_query("what is a window", None)?;
//! let texts = [encoder.encode(&query, "two layers of weights")?, encoder.encode(&query, "a cat")?];
//!
//! let (ops, mut buffer) = (CandleOps::cpu(), PartBuffer::new());
//! buffer.fill(&checkpoint, model.stem_parts())?;
//! let stem = model.stem(&ops, &buffer.views(model.stem_parts())?)?;
//! let context = model.context(&ops, Ragged::from_lengths(texts.iter().map(|t| t.ids.len())))?;
//! let mut hidden = model.embed(&ops, &stem, &mut checkpoint, &texts)?;
//! for layer in 0..model.config().layers {
//!     let mut buffer = PartBuffer::new();
//!     buffer.fill(&checkpoint, model.layer_parts(layer))?;
//!     let layer = model.layer(&ops, &buffer.views(model.layer_parts(layer))?)?;
//!     hidden = model.forward(&ops, &layer, hidden, &context)?;
//! }
//! let mut buffer = PartBuffer::new();
//! buffer.fill(&checkpoint, model.head_parts())?;
//! let head = model.head(&ops, &buffer.views(model.head_parts())?)?;
//! for score in model.scores(&ops, &head, &hidden, context.ragged())? {
//!     println!("{score} {}", score.probability());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod config;
mod error;
mod families;
mod head;
mod load;
mod model;
mod ops;
mod parts;
mod ragged;
mod rope;
mod score;
mod template;
mod tokenize;
mod weights;

pub use config::{Activation, Family, Form, ModelConfig, Positions, RopeScaling};
pub use error::{ModelError, Result};
pub use head::{Answers, Head, Stem};
pub use load::{LoadOptions, LoadedModel};
pub use model::{ChunkContext, Layer, Model, RowSource};
pub use ops::candle::CandleOps;
pub use ops::{AttentionShape, Ops};
pub use parts::{Part, PartBuffer};
pub use ragged::Ragged;
pub use score::{Logit, Probability};
pub use template::*;
pub use tokenize::*;
pub use weights::{LayerWeights, TensorView};
