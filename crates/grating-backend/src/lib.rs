//! What a device implements so that rerankers run on it.
//!
//! # Brief overview
//!
//! A [`Backend`] has memory: it [admits](Backend::admit) blocks of weights to [slots](Backend::Slot), binds tensors in
//! them, and moves activations between its memory and the host's. [`Ops`] adds the operations of transformer layers.
//! Models are written over `Ops` and the engine is generic over it; neither names a device.
//!
//! What crosses the seam are bytes ([`HostBlock`], [`TensorRef`]), where the rows of a chunk belong ([`Ragged`], made
//! the backend's own [`Layout`](Backend::Layout) once a chunk), and a few plain descriptions ([`AttentionSpec`],
//! [`Activation`], [`Format`]). Operations take no slices of the host, so that an implementation may queue them all and
//! wait once, when scores are [read](Backend::wait).
//!
//! Activations are `[rows, columns]`, row-major. In what type a backend keeps them is its own matter
//! ([`Caps::activation_bytes`]); a result must not depend on what other rows are in the call.
//!
//! The crate depends on nothing.
//!
//! # Example
//!
//! ```
//! use grating_backend::{Format, Ragged, Scored};
//!
//! // Two texts of three tokens and one, after a shared prefix of two: positions go on after it.
//! let rows = Ragged::new([3, 1], 2, Scored::Last);
//! assert_eq!(rows.positions(), [2, 3, 4, 2]);
//! assert_eq!(rows.scored_rows(), [2, 3]);
//! assert_eq!(Format::Q8_0.row_bytes(64), Some(68));
//! ```
#![forbid(unsafe_code)]

mod backend;
mod distance;
mod error;
mod format;
mod meter;
mod ops;
mod precision;
mod ragged;
mod weights;

pub use backend::{Backend, Caps, HostAllocator, HostMemory, Source, Widths, Workspace};
pub use distance::Distances;
pub use error::{BackendError, Result};
pub use format::Format;
pub use meter::{Copies, CopySpan, DeviceMemory, Meter, OperationTimes};
pub use ops::{Activation, Affine, Attended, AttentionSpec, ByDistance, Ops, OverHeads, Rows};
pub use precision::{Precision, UnknownPrecision};
pub use ragged::{Ragged, Scored};
pub use weights::{HostBlock, TensorRef, Then};

/// The README's example is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
