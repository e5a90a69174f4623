//! A pool of candidates through a reranker whose weights are streamed, layer by layer.
//!
//! # Brief overview
//!
//! [`Engine`] owns a model, its checkpoint and a compute thread; [`Engine::start`] makes one. [`Engine::submit`] puts a
//! [`Job`] (tokens of the candidates, K, a pruning policy) in the thread's bounded queue and returns a [`Ticket`], which is
//! waited on for [`JobOutput`]: who is selected, each candidate's latest score, the layer that decided, and the [`Costs`].
//! [`Engine::select`] does both.
//!
//! Inside, a `Worker` lives as long as the engine: it plans each job (`grating-sched`) and keeps what is reused from one
//! to the next, the window of weights (`grating-io`'s prefetcher), the row cache and the spill store. A `Pass` is one
//! walk through the layers: every live candidate goes through layer `i`, chunk by chunk, before any enters `i + 1`.
//! `Scoring` reads scores from hidden states, `Selecting` asks the pruner (`grating-prune`), the pool is packed anew.
//!
//! All of that is generic over the backend (`grating-backend`) and erased once, where the thread starts.
//!
//! The crate knows tokens and scores, not texts: templates, files and the hub are its callers' matter.
//!
//! # Example
//!
//! ```
//! use std::path::Path;
//!
//! use grating_backend::Precision;
//! use grating_cpu::{CpuOps, Isa};
//! use grating_engine::{Engine, EngineOptions, Job};
//! use grating_io::Checkpoint;
//! use grating_model::{LoadOptions, LoadedModel, SideFiles};
//!
//! let folder = Path::new("../grating-model/tests/goldens/qwen3-tied-f32");
//! let checkpoint = Checkpoint::open(folder)?;
//! let (config, tokenizer) = (std::fs::read(folder.join("config.json"))?, std::fs::read(folder.join("tokenizer.json"))?);
//! let (template, files) = (std::fs::read(folder.join("grating.json"))?, SideFiles::default());
//! let LoadedModel { model, encoder, .. } =
//!     LoadedModel::load(&config, &tokenizer, Some(&template), &files, &checkpoint, LoadOptions::default())?;
//! let query = encoder.encode_query("what is a window", None)?;
//! let texts = [encoder.encode(&query, "two layers of weights")?, encoder.encode(&query, "a cat")?];
//!
//! let backend = CpuOps::new(Isa::detect(), Precision::Exact);
//! let options = EngineOptions::new(std::env::temp_dir());
//! let engine = Engine::start("qwen3".into(), model, checkpoint, backend, options)?;
//! let scored = engine.select(Job::new(texts.into(), 1), |_progress| ())?;
//! for (logit, layer) in scored.logits.iter().zip(&scored.decided) {
//!     println!("{logit} after layer {layer}");
//! }
//! # assert_eq!(scored.logits.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod account;
mod admission;
mod cancel;
mod compression;
mod device;
mod engine;
mod error;
mod executor;
mod job;
mod joining;
mod meter;
mod options;
mod pass;
mod passages;
mod pool;
mod prefix;
mod progress;
mod queue;
mod readouts;
mod rows;
mod savings;
mod scoring;
mod selecting;
mod shape;
mod stats;
#[cfg(test)]
mod testing;
mod ticket;
mod timeline;
mod tokens;
mod window;
mod worker;

pub use account::{Lent, Loan, LoanRequest, settle};
pub use cancel::{CancelToken, Deadline};
pub use engine::Engine;
pub use error::{EngineError, Result, TrySubmitError};
pub use job::{Job, JobOutput};
pub use meter::{Costs, current_rss_bytes, peak_rss_bytes};
pub use options::EngineOptions;
pub use passages::TextPassages;
pub use progress::Progress;
pub use queue::{Reservation, Waiting, WaitingJob};
pub use readouts::Readouts;
pub use savings::Savings;
pub use shape::{WorkspaceOf, leaving, plan_for};
pub use stats::{LayerStats, LinkStats, MemoryStats};
pub use ticket::Ticket;
pub use timeline::Timeline;
