//! E1.1 and E1.2: latency and peak memory by model, pool and setting, beside the peers.

use anyhow::Result;
use grating_prune::metrics::agreement_at_k;

use super::against;
use crate::bench::Bench;
use crate::bench::budget::MIB;
use crate::bench::measure::Measured;
use crate::bench::model::Model;
use crate::bench::peers::{DOES_NOT_FIT, Peer, PeerMeasured, PeerRequest, needed_bytes};
use crate::bench::settings::{Setting, Weights, full, micro};
use crate::bench::stats::{Summary, mean};
use crate::bench::table::{Row, Table, Unit};
use crate::bench::workload::{Workload, made};

const COLUMNS: [(&str, &str, Unit); 13] = [
    ("model", "model", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("tokens", "tokens each", Unit::Count),
    ("setting", "system", Unit::Text),
    ("queries", "queries", Unit::Count),
    ("request", "request s", Unit::Seconds),
    ("process", "whole process s", Unit::Seconds),
    ("peak", "peak MiB", Unit::Mib),
    ("mean", "mean MiB", Unit::Mib),
    ("latency_change", "request vs baseline", Unit::Change),
    ("peak_change", "peak vs baseline", Unit::Change),
    ("agreement", "agreement@K", Unit::Share),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "A query, its candidates, the K best. \"Request\" is the time from the query to the \
    answer after the program has started and, for peers, loaded the model; GRATING's streamed settings read \
    the weights within it. \"Whole process\" is from the start of the program to its end. Memory is the \
    resident set of the whole process, largest and mean. Changes are against transformers in bf16 where it \
    was measured, else against the full pass with resident weights. \"Fast\" is `--precision fast`, which \
    multiplies 8-bit integers, with AMX bfloat16; the others multiply exactly (weights in bf16 as bf16 where \
    the processor does, as with AMX). The model's file is dropped from the page cache before each run of \
    ours. A file in f32, as bge-v2-m3's, is converted by transformers in bf16 as it is loaded, which is its \
    peak. Quantized settings read a copy in Q8_0 (`grating quantize`) in fast precision. Agreement is the \
    share of the selected among the K best of GRATING's full pass, the mean over the queries; what selects \
    as another row does, to the bit, and the peers were measured with the first query alone. \"Least \
    memory\" runs within the least budget that `grating plan` takes for this pool, where the others have a \
    window of two layers. The first query runs several times, until half a minute is spent, the others once. \
    A median is that of the queries' medians; smallest and largest are over all runs. Models of more than 4 \
    GiB are measured with the smallest pool, at most 128 tokens and without resident weights, on twice as \
    many queries.";

/// What the others are compared with: the first that was measured.
const BASELINES: [&str; 3] = ["transformers, bf16", "GRATING, full, resident", "GRATING, full"];
/// What the names of settings have that keep a whole model in memory.
const RESIDENT: &str = "resident";
/// Tokens of a candidate of models whose pass would take minutes.
const HEAVY_TOKENS: usize = 128;

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table =
        Table::new(bench, "micro", "Latency and memory (E1.1, E1.2)", ABOUT).columns(&COLUMNS);
    let peers = bench.peers.as_ref().map_or(0, |peers| peers.all().len());
    for model in &bench.models {
        let (pools, tokens) = sizes(bench, model);
        bench.expect(pools.len() * (4 + 8 * queries(bench, model) + peers));
        for pool in pools {
            one_pool(bench, &mut table, model, pool, tokens)?;
        }
        if model.planted.is_some() {
            table.note(format!(
                "{}: planted weights, see the page's end: times and memory are those of the shape, \
                 agreement follows from a profile measured on the built-in model.",
                model.name
            ));
        }
    }
    Ok(table)
}

/// Pools and tokens of a candidate.
fn sizes(bench: &Bench, model: &Model) -> (Vec<usize>, usize) {
    let (pools, tokens) = (bench.args.pools(), bench.args.tokens());
    match model.is_heavy() {
        true => (pools.into_iter().min().into_iter().collect(), tokens.min(HEAVY_TOKENS)),
        false => (pools, tokens),
    }
}

/// Queries of each pool. The candidates of heavy models are short, which leaves time for as many as agreement needs.
fn queries(bench: &Bench, model: &Model) -> usize {
    bench.args.micro_queries() * if model.is_heavy() { 2 } else { 1 }
}

/// All rows of one model and pool.
fn one_pool(
    bench: &Bench,
    table: &mut Table,
    model: &Model,
    pool: usize,
    tokens: usize,
) -> Result<()> {
    let works: Vec<Workload> = (0..queries(bench, model) as u64)
        .map(|query| made(model, pool, tokens, bench.args.seed + query))
        .collect();
    let k = bench.args.top_k();
    let points = bench.points(model, k, pool)?;
    table.note(format!("{}, {pool} candidates: {}.", model.name, points.shown()));
    let of_copy = bench.points_with(model, Weights::Quantized, k, pool)?;
    table.note(format!("{}, quantized, {pool} candidates: {}.", model.name, of_copy.shown()));
    let worth = |setting: &Setting| !(model.is_heavy() && setting.name.contains(RESIDENT));
    let least = |weights| bench.least_budget(model, weights, pool, tokens).map(|mib| mib * MIB);
    let (own, quantized) = (least(Weights::Own)?, least(Weights::Quantized)?);
    let settings = micro((&points, own), (&of_copy, quantized)).into_iter().filter(worth);
    let settings: Vec<Setting> = settings.collect();
    let mut reference = Collected::default();
    let mut collected: Vec<Collected> = settings.iter().map(|_| Collected::default()).collect();
    // Query by query, so that slow minutes of the machine fall on all settings.
    for (query, work) in works.iter().enumerate() {
        let runs = if query == 0 { bench.args.runs() } else { 1 };
        // The reference ranks everybody, so that peers' scores can be compared too.
        let full = bench.measure(model, &full(), work, pool, runs)?;
        let ranking = full.selected();
        reference.add(full, None);
        for (setting, collected) in settings.iter().zip(&mut collected) {
            if query == 0 || !setting.is_another_way() {
                let measured = bench.measure(model, setting, work, k, runs)?;
                let agreement_of = |selected: Vec<usize>| {
                    ranking.as_ref().map(|ranking| agreement_at_k(&selected, ranking, k))
                };
                let agreement = measured.selected().and_then(agreement_of);
                collected.add(measured, agreement);
            }
        }
    }
    let tokens = reference.measured.first().and_then(tokens_each);
    let start = |name: &str, queries: usize| {
        Row::default()
            .text("model", model.shown())
            .number("pool", pool as f64)
            .number("tokens", tokens)
            .text("setting", name)
            .number("queries", queries as f64)
    };
    let mut rows = vec![figures(start("GRATING, full", reference.measured.len()), &reference)];
    rows.extend(settings.iter().zip(&collected).map(|(setting, collected)| {
        figures(start(&format!("GRATING, {}", setting.name), collected.measured.len()), collected)
    }));
    if let Some(peers) = &bench.peers {
        let ranking = reference.first_ranking();
        for peer in peers.all() {
            let measured =
                bench.measure_peer(peers, peer, model, &works[..1], bench.args.runs())?;
            rows.push(peer_row(start(peer.name, 1), peer, &measured, model, &ranking, k));
        }
    }
    table.rows.extend(against(&BASELINES, "request", rows));
    Ok(())
}

/// What one setting did on the queries so far.
#[derive(Default)]
struct Collected {
    /// Query by query.
    measured: Vec<Measured>,
    agreements: Vec<f64>,
}

impl Collected {
    fn add(&mut self, measured: Measured, agreement: Option<f64>) {
        self.agreements.extend(agreement);
        self.measured.push(measured);
    }

    /// What the first query's first run selected, best first.
    fn first_ranking(&self) -> Vec<usize> {
        self.measured.first().and_then(Measured::selected).unwrap_or_default()
    }

    fn summary(&self, of: impl Fn(&Measured) -> Option<Summary>) -> Option<Summary> {
        Summary::of_queries(self.measured.iter().map(of))
    }

    /// Why a query has no runs.
    fn reason(&self) -> Option<String> {
        self.measured.iter().find_map(Measured::reason)
    }
}

fn tokens_each(measured: &Measured) -> Option<f64> {
    let stats = &measured.runs().first()?.stats;
    Some(stats["tokens"].as_f64()? / stats["distinct_candidates"].as_f64()?)
}

fn figures(row: Row, collected: &Collected) -> Row {
    let row = row
        .summary("request", collected.summary(Measured::request))
        .summary("process", collected.summary(Measured::process))
        .summary("peak", collected.summary(Measured::peak))
        .summary("mean", collected.summary(Measured::mean_memory))
        .number("agreement", mean(collected.agreements.iter().copied()));
    match collected.reason() {
        Some(reason) => row.text("note", reason),
        None => row,
    }
}

fn peer_row(
    row: Row,
    peer: &Peer,
    measured: &PeerMeasured,
    model: &Model,
    full: &[usize],
    k: usize,
) -> Row {
    match measured {
        PeerMeasured::Skipped(reason) => {
            let row = row.text("note", format!("skipped: {reason}"));
            // What it needs is known even where it does not fit.
            let needed = needed_bytes(peer, model).map(|bytes| bytes as f64);
            match needed {
                Some(bytes) if reason == DOES_NOT_FIT => row
                    .number("peak", bytes)
                    .text("note", "computed: the bytes of its weights alone; it does not fit here"),
                _ => row,
            }
        }
        PeerMeasured::Done(done) => {
            let request = done.requests.first();
            let row = row
                .summary("request", request.and_then(PeerRequest::time))
                .number("process", done.process_s)
                .number("peak", done.peak_rss_bytes as f64)
                .number("mean", done.mean_rss_bytes.map(|bytes| bytes as f64));
            let agreement = request
                .filter(|_| !full.is_empty())
                .map(|request| agreement_at_k(&request.ranked(), full, k));
            row.number("agreement", agreement)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_against_transformers_where_it_is_there() {
        let row = |name: &str, request: f64, peak: f64| {
            Row::default().text("setting", name).number("request", request).number("peak", peak)
        };
        let own = [row("GRATING, full, resident", 4.0, 400.0), row("GRATING, pruned", 1.0, 100.0)];
        let rows = against(&BASELINES, "request", own.to_vec());
        assert_eq!(rows[1].value("latency_change"), Some(-75.0));
        let with_peer = [own.as_slice(), &[row("transformers, bf16", 10.0, 1000.0)]].concat();
        let rows = against(&BASELINES, "request", with_peer);
        assert_eq!(rows[1].value("latency_change"), Some(-90.0));
        assert_eq!(rows[0].value("peak_change"), Some(-60.0));
    }
}
