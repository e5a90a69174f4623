//! Pictures of docs/how-it-works.md, from requests that ran: how a pool thins, and what two slots do in time.
//!
//! `cargo run --release -p grating-benches --bin pictures -- QUERIES docs/pictures [pool | window]`: QUERIES is a folder in BEIR layout or a
//! file of JSON lines, as `grating calibrate` reads them.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use grating::calibrate::Dataset;
use grating::{Faults, FaultyStorage, Request, Reranker, WindowSize};
use grating_chart::{Axis, Chart, Panel, Row, Series, Span, Spans};

/// Queries whose pools are averaged.
const QUERIES: usize = 40;
const KS: [usize; 4] = [1, 5, 10, 20];
/// A disk that takes about as long as computing, bytes a second.
const DISK: u64 = 24 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(queries), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pictures QUERIES OUT [pool | window]".into());
    };
    let only = arguments.next();
    let wanted = |name| only.as_deref().is_none_or(|only| only == name);
    let out = Path::new(&out);
    std::fs::create_dir_all(out)?;
    let data = Dataset::read(queries.as_ref())?.sample(QUERIES);
    if wanted("pool") {
        std::fs::write(out.join("pool.svg"), pool(&data)?)?;
    }
    if wanted("window") {
        std::fs::write(out.join("window.svg"), window(&data)?)?;
    }
    Ok(())
}

/// The share of candidates that each layer computes, mean over the queries, by the profiles that ship with the default model.
fn pool(data: &Dataset) -> Result<String, Box<dyn Error>> {
    let reranker = Reranker::builder().build()?;
    let mut series = Vec::new();
    for k in KS {
        let mut alive = Vec::new();
        for query in &data.queries {
            let stats = reranker.rerank(&query.text, &query.texts, k)?.stats;
            alive.resize(stats.layers, 0.0);
            for layer in &stats.funnel {
                let share = layer.live as f64 / stats.distinct_candidates as f64;
                alive[layer.layer] += share / data.queries.len() as f64;
            }
        }
        let points = alive.into_iter().enumerate();
        series.push(Series::new(
            format!("K = {k}"),
            points.map(|(layer, share)| ((layer + 1) as f64, share)).collect(),
        ));
    }
    let y = Axis::new("share of the candidates that the layer computes").between(0.0, 1.0);
    let panel = Panel::new(Axis::new("layer"), y, series);
    let title = format!("The default model on {}, {} queries", data.name, data.queries.len());
    Ok(Chart::new(title, vec![panel]).svg()?)
}

/// One request in two slots, with a disk that takes about as long as computing.
fn window(data: &Dataset) -> Result<String, Box<dyn Error>> {
    let slow = Faults::default().with_bytes_per_second(DISK);
    let reranker = Reranker::builder()
        .window(WindowSize::Slots(2))
        .map_storages(move |disk| Arc::new(FaultyStorage::new(disk, slow.clone())))
        .build()?;
    let query = data.queries.first().ok_or("no query")?;
    let request = Request::new(&query.text, query.texts.as_slice(), 10);
    let selection = reranker.run(request.pruning(grating::Pruning::Off).timeline(true))?;
    let json = selection.timeline.to_json();
    let events = json["traceEvents"].as_array().ok_or("a timeline without events")?;
    let spans = |thread: u64| -> Vec<(f64, f64, String)> {
        let spans = events.iter().filter(|e| e["ph"] == "X" && e["tid"] == thread);
        let of = |e: &serde_json::Value| {
            let (at, length) = (e["ts"].as_f64()? / 1e3, e["dur"].as_f64()? / 1e3);
            Some((at, at + length, e["name"].as_str()?.to_owned()))
        };
        spans.filter_map(of).collect()
    };
    // Chunks of one layer are one bar: what matters is which layer is read and which computes.
    let mut compute: Vec<Span> = Vec::new();
    for (from, to, name) in spans(0) {
        // Too short to be seen.
        if name.starts_with("wait") && to - from < 1.0 {
            continue;
        }
        let name = name.split(',').next().unwrap_or_default().to_owned();
        match compute.last_mut() {
            Some(last) if last.name == name => last.to = to,
            _ => compute.push(Span { from, to, waits: name.starts_with("wait"), name }),
        }
    }
    let mut slots = [Vec::new(), Vec::new()];
    for (at, (from, to, name)) in spans(1).into_iter().enumerate() {
        slots[at % 2].push(Span { from, to, name: format!("read {name}"), waits: false });
    }
    let [a, b] = slots;
    let row = |name: &str, spans| Row { name: name.into(), spans };
    let rows = vec![row("slot A", a), row("slot B", b), row("compute", compute)];
    let title = format!("A request in two slots, the disk held to {} MiB a second", DISK >> 20);
    Ok(Spans { title, x: Axis::new("milliseconds"), rows }.svg()?)
}
