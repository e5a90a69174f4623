//! The hand-over under loom.
