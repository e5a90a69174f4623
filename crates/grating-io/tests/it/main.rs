//! Everything that can be wrong with a checkpoint, a module per kind of failure, through the
//! public interface only.

// Helpers are tests too; clippy.toml exempts only functions marked as such.
#![allow(clippy::unwrap_used)]

mod concurrent;
mod folder;
mod foreign;
mod gguf;
mod index;
mod invariants;
mod lying_header;
mod mutations;
mod prefetch;
mod properties;
mod reference;
mod short_read;
mod support;
mod truncated;
