//! What requests gain that share a pass: so many at once on a streamed model, in joint passes and one after the other,
//! whose weights come from a disk of so many MiB a second, or as fast as this one is.
//!
//! `cargo run --release -p grating-benches --bin joint_passes -- MODEL REQUESTS TEXTS [MIB_PER_SECOND]`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grating::{
    Faults, FaultyStorage, Pruning, Request, Reranker, RerankerBuilder, Storage, Texts, Ticket,
    WindowSize,
};
use grating_benches::pool;

/// Runs of each kind, in turns.
const RUNS: usize = 5;

struct Run {
    first: Duration,
    all: Duration,
    passes: Vec<usize>,
}

fn run(reranker: &Reranker, requests: usize, texts: &Texts) -> Result<Run, Box<dyn Error>> {
    let request = |i: usize| {
        Request::new(format!("query number {i} about water"), texts.clone(), 3)
            .pruning(Pruning::Off)
    };
    // All but the first wait while it is computed, so that it goes alone; what is measured are those that wait.
    let running = reranker.submit(request(0))?;
    let waiting: Vec<Ticket> =
        (1..=requests).map(|i| reranker.submit(request(i))).collect::<Result<_, _>>()?;
    running.wait()?;
    let begin = Instant::now();
    let (mut first, mut passes) = (None, Vec::new());
    for pending in waiting {
        let selection = pending.wait()?;
        first.get_or_insert_with(|| begin.elapsed());
        passes.push(selection.stats.requests_in_pass);
    }
    Ok(Run { first: first.ok_or("no requests")?, all: begin.elapsed(), passes })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, requests, texts, rate @ ..] = arguments.as_slice() else {
        return Err("arguments: MODEL REQUESTS TEXTS [MIB_PER_SECOND]".into());
    };
    let (requests, texts) = (requests.parse()?, Texts::from(pool(texts.parse()?, 40)));
    let rate = rate.first().map(|mib| mib.parse::<u64>()).transpose()?.map(|mib| mib << 20);
    let builder = |joint: bool| -> RerankerBuilder {
        let builder = Reranker::builder()
            .model(model)
            .window(WindowSize::Slots(2))
            .queue_length(requests)
            .joint_passes(joint);
        match rate {
            None => builder,
            Some(rate) => builder.map_storages(move |storage| {
                let faults = Faults::default().with_bytes_per_second(rate);
                Arc::new(FaultyStorage::new(storage, faults)) as Arc<dyn Storage>
            }),
        }
    };
    let rerankers = [builder(true).build()?, builder(false).build()?];
    // Each learns the rates of this machine.
    for reranker in &rerankers {
        run(reranker, 1, &texts)?;
    }
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (reranker, runs) in rerankers.iter().zip(&mut runs) {
            runs.push(run(reranker, requests, &texts)?);
        }
    }
    for (name, runs) in ["joint passes", "one after the other"].iter().zip(&runs) {
        let all = median(runs.iter().map(|run| run.all).collect());
        let first = median(runs.iter().map(|run| run.first).collect());
        let passes = &runs[RUNS - 1].passes;
        println!(
            "{name:20} all {all:.3} s, the first {first:.3} s, requests in each pass {passes:?}"
        );
    }
    Ok(())
}
