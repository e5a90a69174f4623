//! Integration tests, one module a subject.
#![allow(clippy::unwrap_used)] // helpers of tests; the exemption of clippy.toml covers the tests alone

mod gguf_files;
mod passages;
mod tokenization;
mod tokenizer_files;
