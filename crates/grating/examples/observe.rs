//! What a request does and what it cost: progress, statistics, a timeline; and how to end one early.
//!
//! `cargo run --release -p grating --example observe [-- TIMELINE.json]`; https://ui.perfetto.dev shows the timeline.

use std::error::Error;
use std::time::Duration;

use grating::{CancelToken, Error as Failed, Request, Reranker};

fn main() -> Result<(), Box<dyn Error>> {
    let reranker = Reranker::builder().memory_budget(400 << 20).build()?;
    let texts: Vec<String> = (0..100).map(|i| format!("text {i}{}", " word".repeat(100))).collect();

    let request = Request::new("which text?", texts.clone(), 10)
        .timeline(true)
        .on_progress(|now| eprintln!("layer {} of {}: {} alive", now.layer, now.layers, now.live));
    let selection = reranker.run(request)?;
    let stats = &selection.stats;
    println!("{}", selection.plan.explain());
    println!(
        "{:?} in all: {:?} tokenizing, {:?} computing, {:?} waiting for weights",
        stats.total, stats.tokenize, stats.compute, stats.stall
    );
    println!(
        "{} candidate-layers, {} weight bytes",
        stats.candidate_layers, stats.weight_bytes_read
    );
    if let Some(file) = std::env::args().nth(1) {
        std::fs::write(file, selection.timeline.to_json().to_string())?;
    }

    // A token ends a request from any thread, within one chunk of a layer.
    let token = CancelToken::new();
    let ticket = reranker.submit(Request::new("which text?", texts.clone(), 10).cancel(&token))?;
    token.cancel();
    assert!(matches!(ticket.wait(), Err(Failed::Cancelled)));

    // A deadline does the same without a second thread.
    let late = Request::new("which text?", texts, 10).deadline(Duration::from_millis(1));
    println!("{}", reranker.run(late).expect_err("a millisecond is too short"));
    Ok(())
}
