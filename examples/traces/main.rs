//! Score traces: every text's score after every layer. They show how a model's judgment settles with
//! depth, and any pruning policy can be replayed on them.
//!
//! Reads JSON lines `{"query": "...", "texts": ["...", "..."]}`, or the pools of a data set, and prints a
//! JSON list with one trace a line: `{"layers": L, "candidates": N, "scores": [L rows of N]}`.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use grating::{Pruning, Request, Reranker};
use grating_examples::{DataSet, Pool, RerankerOptions};

/// Print every text's score after every layer
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Options {
    /// Trace the pools of this data set in BEIR layout instead of reading pools from standard input
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Questions of it at most
    #[arg(long, value_name = "N", default_value_t = 20, requires = "data")]
    queries: usize,
    /// Texts of each pool at most
    #[arg(long, value_name = "N", default_value_t = 60, requires = "data")]
    pool: usize,
    #[command(flatten)]
    reranker: RerankerOptions,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let reranker = options.reranker.build()?;
    let mut out = std::io::stdout().lock();
    let mut before = "[";
    for pool in pools(&options)? {
        write!(out, "{before}{}", trace(&reranker, &pool?)?)?;
        out.flush()?;
        before = ",\n";
    }
    writeln!(out, "{}", if before == "[" { "[]" } else { "]" })?;
    Ok(())
}

/// Pools one after the other: a trace is out before the next pool is read.
fn pools(options: &Options) -> Result<Box<dyn Iterator<Item = Result<Pool>>>> {
    let Some(folder) = &options.data else {
        let lines = std::io::stdin().lock().lines().enumerate();
        return Ok(Box::new(lines.map(|(i, line)| {
            serde_json::from_str(&line?).with_context(|| format!("line {}", i + 1))
        })));
    };
    let set = DataSet::open(folder)?;
    let pools: Vec<Pool> = set
        .sample(options.queries)
        .into_iter()
        .map(|question| {
            let texts = question.pool.iter().take(options.pool);
            let texts = texts.map(|&text| set.texts[text].clone()).collect();
            Pool { query: question.text.clone(), texts }
        })
        .collect();
    Ok(Box::new(pools.into_iter().map(Ok)))
}

fn trace(reranker: &Reranker, pool: &Pool) -> Result<serde_json::Value> {
    let request = Request::new(&pool.query, &pool.texts, pool.texts.len());
    let selection = reranker.run(request.trace(true).pruning(Pruning::Off))?;
    let trace = selection.trace.context("the trace was asked for")?;
    Ok(serde_json::json!({
        "layers": trace.len(), "candidates": pool.texts.len(), "scores": trace.concat(),
    }))
}
