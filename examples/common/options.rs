//! Command-line options that every example has.

use std::path::PathBuf;

use anyhow::Result;
use grating::{Policy, Pruning, Reranker};

/// How to rerank.
#[derive(Debug, Clone, clap::Args)]
pub struct RerankerOptions {
    /// Model folder or hub id; without it the model that is built in
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub model: Option<String>,
    /// Threads that compute
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Prune from this coefficient of variation of the scores on
    #[arg(long, value_name = "CV")]
    pub threshold: Option<f64>,
}

impl RerankerOptions {
    /// Opens the model.
    ///
    /// # Errors
    /// Those of [`grating::RerankerBuilder::build`].
    pub fn build(&self) -> Result<Reranker> {
        let mut builder = Reranker::builder();
        if let Some(model) = &self.model {
            builder = builder.model(model);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        let pruning = match self.threshold {
            Some(threshold) => Pruning::By(Policy::paper(threshold)),
            None => Pruning::Off,
        };
        Ok(builder.pruning(pruning).build()?)
    }
}

/// Measuring on judged questions instead of answering one.
#[derive(Debug, Clone, clap::Args)]
pub struct Evaluation {
    /// Measure on this data set in BEIR layout
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Questions of it at most
    #[arg(long, value_name = "N", default_value_t = 20, requires = "data")]
    pub queries: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
