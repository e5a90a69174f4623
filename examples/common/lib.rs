//! What the examples share: options, a BM25 index, data sets with judgments, and the report.
#![deny(unsafe_code)]

mod beir;
mod bm25;
mod options;
mod report;
mod segments;

pub use beir::{DataSet, Question};
pub use bm25::Bm25;
pub use options::{Evaluation, RerankerOptions};
pub use report::{Asked, Pool, Report, found};
pub use segments::{approximate_tokens, segments};
