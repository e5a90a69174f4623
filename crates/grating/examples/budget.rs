//! What a memory budget costs: the same request within less and less of it, with the same scores to the bit.
//!
//! `cargo run --release -p grating --example budget [-- MODEL]`

use grating::{Error, Reranker, Selection};

fn main() -> grating::Result<()> {
    let model = std::env::args().nth(1);
    let texts: Vec<String> =
        (0..60).map(|i| format!("text {i} is about {}", "budgets and memory ".repeat(i))).collect();
    let select = |budget: Option<u64>| -> grating::Result<Selection> {
        let mut builder = Reranker::builder();
        if let Some(model) = &model {
            builder = builder.model(model);
        }
        if let Some(bytes) = budget {
            builder = builder.memory_budget(bytes);
        }
        builder.build()?.rerank("what does a budget bound?", &texts, 5)
    };

    let free = select(None)?;
    println!("no budget: {:.0} ms", free.stats.total.as_secs_f64() * 1e3);
    for mebibytes in [400, 200, 100, 80, 60, 40, 20] {
        match select(Some(mebibytes << 20)) {
            Ok(selection) => {
                let stats = &selection.stats;
                assert_eq!(selection.all_scores(), free.all_scores(), "no bit may differ");
                println!(
                    "{mebibytes} MiB: {:.0} ms in {} chunks, {:.0} ms of it waiting for weights",
                    stats.total.as_secs_f64() * 1e3,
                    stats.chunks,
                    stats.stall.as_secs_f64() * 1e3,
                );
            }
            // Nothing was computed; the error names the least that would do.
            Err(error @ Error::Plan(_)) => println!("{mebibytes} MiB: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
