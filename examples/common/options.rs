//! Command-line options that every example has.

use std::path::PathBuf;

use anyhow::Result;
use grating::{Policy, Precision, Pruning, Reranker};

/// How to rerank.
#[derive(Debug, Clone, clap::Args)]
pub struct RerankerOptions {
    /// Model folder or hub id; without it the model that is built in
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub model: Option<String>,
    /// Threads that compute
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// In what products are taken: exact or fast
    #[arg(long, value_name = "PRECISION", default_value_t = Precision::Exact)]
    pub precision: Precision,
    /// Prune from this coefficient of variation of the scores on
    #[arg(long, value_name = "CV")]
    pub threshold: Option<f64>,
    /// Prune by this policy, with the fields of the `policy` in a profile that `grating calibrate` wrote
    #[arg(long, value_name = "JSON", conflicts_with = "threshold", value_parser = policy)]
    pub policy: Option<Policy>,
}

fn policy(json: &str) -> Result<Policy, serde_json::Error> {
    serde_json::from_str(json)
}

impl RerankerOptions {
    /// Opens the model.
    ///
    /// # Errors
    /// Those of [`grating::RerankerBuilder::build`].
    pub fn build(&self) -> Result<Reranker> {
        let mut builder = Reranker::builder().precision(self.precision);
        if let Some(model) = &self.model {
            builder = builder.model(model);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        let policy = self.policy.clone().or(self.threshold.map(Policy::paper));
        let pruning = policy.map_or(Pruning::Off, Pruning::By);
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
    /// Write each question with the texts that were reranked, as JSON lines, e.g. for `grating calibrate`
    #[arg(long, value_name = "FILE", requires = "data")]
    pub pools: Option<PathBuf>,
}
