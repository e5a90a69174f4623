//! What runs when, and in how much memory: plans as pure arithmetic.
//!
//! # Brief overview
//!
//! [`chunk::plan`] cuts a pool of candidates into runs that go through a layer together. Numbers in, plans out: no
//! threads, no files, no tensors, so every rule can be tested with numbers alone.
//!
//! # Example
//!
//! ```
//! use grating_sched::chunk;
//!
//! // Five candidates of these lengths, at most 512 tokens in a chunk.
//! let chunks = chunk::plan(&[200, 300, 100, 700, 50], 512);
//! assert_eq!(chunks, [0..2, 2..3, 3..4, 4..5]);
//! ```
#![deny(unsafe_code)]

pub mod chunk;
