//! How computing waits for a slow disk, measured and as the planner's model of costs predicts it.
//!
//! `cargo run --release -p grating-benches --bin slow_disk [-- MODEL]`: reads a model's weights through a storage that is
//! slower than the disk, two layers in memory, and prints a table.

use std::sync::Arc;

use grating::{Faults, FaultyStorage, Reranker, WindowSize};

const CANDIDATES: usize = 20;
const WORDS: usize = 100;
const MEBIBYTES_PER_SECOND: [u64; 7] = [1000, 300, 100, 50, 25, 12, 6];

fn main() -> grating::Result<()> {
    let model = std::env::args().nth(1);
    let texts: Vec<String> =
        (0..CANDIDATES).map(|i| format!("text {i}{}", " word".repeat(WORDS))).collect();
    println!("| disk MiB/s | computing ms | waiting ms | share of waiting | predicted share |");
    println!("|---:|---:|---:|---:|---:|");
    for rate in MEBIBYTES_PER_SECOND {
        let slow = Faults::default().with_bytes_per_second(rate << 20);
        let mut builder = Reranker::builder()
            .window(WindowSize::Slots(2))
            .map_storages(move |disk| Arc::new(FaultyStorage::new(disk, slow.clone())));
        if let Some(model) = &model {
            builder = builder.model(model);
        }
        let reranker = builder.build()?;
        // The first request shows the planner what disk and processor can do.
        let first = reranker.rerank("which text", &texts, 5)?;
        let tokens = first.stats.tokens / CANDIDATES;
        let prediction = reranker.plan(CANDIDATES, tokens)?.prediction;
        let stats = reranker.rerank("which text", &texts, 5)?.stats;
        let found = stats.stall.as_secs_f64() / (stats.stall + stats.compute).as_secs_f64();
        let expected =
            prediction.stall_seconds / (prediction.stall_seconds + prediction.compute_seconds);
        println!(
            "| {rate} | {:.0} | {:.0} | {found:.2} | {expected:.2} |",
            stats.compute.as_secs_f64() * 1e3,
            stats.stall.as_secs_f64() * 1e3,
        );
    }
    Ok(())
}
