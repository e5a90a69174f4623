//! Pruning with a promise on queries of your own: record once, find a policy, use it.
//!
//! `cargo run --release -p grating --example calibrate -- QUERIES.jsonl [MODEL]`: each line has a `query` and its `texts`.

use std::error::Error;

use grating::Reranker;
use grating::calibrate::{Dataset, Options, RecordOptions, fit, record};
use grating::prune::calibrate::Target;

const K: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: calibrate QUERIES.jsonl [MODEL]")?;
    let model = arguments.next();
    let builder = || match &model {
        Some(model) => Reranker::builder().model(model),
        None => Reranker::builder(),
    };
    let data = Dataset::read(file.as_ref())?;

    // The scores after every layer of the full model: all that is needed to try any policy.
    let reranker = builder().build()?;
    let traces = record(&reranker, &data, RecordOptions::default(), |progress| {
        eprint!("\r{} of {} queries", progress.done, progress.queries);
    })?;
    eprintln!();
    drop(reranker);

    // Mean agreement of at least 0.95 with the full model's K best, with confidence 0.95.
    let target = Target { agreement: 0.95, confidence: 0.95 };
    let profile = fit(&data, &traces, &Options::new(K, target))?;
    match (&profile.policy, &profile.measured) {
        (Some(_), Some(measured)) => println!(
            "on queries that it was not made on: {:.0} % of the work saved, agreement {:.3}",
            100.0 * measured.saved,
            measured.agreement
        ),
        _ => println!("no policy keeps that promise on these queries; requests stay whole"),
    }

    let pruned = builder().profile(profile).build()?;
    let query = data.queries.first().ok_or("the file has no query")?;
    let stats = pruned.rerank(&query.text, &query.texts, K)?.stats;
    let whole = (stats.distinct_candidates * stats.layers) as u64;
    println!("first query: {} of {whole} candidate-layers", stats.candidate_layers);
    Ok(())
}
