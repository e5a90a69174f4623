//! `grating rerank`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use grating::{AuditTotals, LayerStats, Ranked, Request, Reranker, Selection, Stats};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::args::RerankArgs;
use crate::input::{self, Text};
use crate::{engine, output};

pub(crate) fn run(args: &RerankArgs) -> Result<ExitCode> {
    // Cheap mistakes come to light before a model is fetched or loaded.
    let texts = input::read(args.file.as_deref(), args.format)?;
    let reranker = build(args)?;
    let bar = progress_bar();
    let started = Instant::now();
    let request = Request::new(&args.query, &texts, args.top_k).timeline(args.timeline.is_some());
    let request = match args.pruning.mode {
        Some(mode) => request.mode(mode.into()),
        None => request,
    };
    let request = request.on_progress(|progress| {
        if bar.is_hidden() && started.elapsed() > LONG && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(format!("layer {} of {}", progress.layer + 1, progress.layers));
    });
    let selection = reranker.run(request);
    bar.finish_and_clear();
    let selection = selection?;

    if let Some(file) = &args.timeline {
        let json = serde_json::to_vec(&selection.timeline.to_json())?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if args.pruning.explain {
        explain(&selection);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        print_json(&mut out, args, &reranker, &texts, &selection)?;
    } else {
        print_table(&mut out, args, &texts, &selection)?;
        if args.stats {
            print_stats(&selection.stats, &reranker.audits());
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn build(args: &RerankArgs) -> Result<Reranker> {
    let builder = engine::builder(&args.model, &args.engine)?;
    let mut builder = engine::pruning(builder, &args.pruning)?
        .allow_query_truncation(args.allow_query_truncation)
        .special_tokens_in_text(args.special_tokens_in_text);
    if let Some(instruction) = &args.instruction {
        builder = builder.instruction(instruction);
    }
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    Ok(builder.build()?)
}

/// Work that is over before a reader would wonder needs no progress bar.
const LONG: Duration = Duration::from_millis(700);

/// Hidden at first; drawn on a terminal once the work has turned out to be long.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg} {eta}")
        .expect("the template is a constant that a test has drawn");
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden()).with_style(style)
}

#[derive(Serialize)]
struct Output<'a> {
    query: &'a str,
    model: &'a str,
    results: Vec<OutputResult<'a>>,
    stats: &'a Stats,
    audits: AuditTotals,
}

#[derive(Serialize)]
struct OutputResult<'a> {
    index: usize,
    id: Option<&'a Value>,
    score: f32,
    raw_score: f32,
    decided_after_layer: usize,
    truncated: bool,
}

fn print_json(
    out: &mut impl Write,
    args: &RerankArgs,
    reranker: &Reranker,
    texts: &[Text],
    selection: &Selection,
) -> Result<()> {
    let result = |r: &Ranked| OutputResult {
        index: r.index,
        id: texts[r.index].id.as_ref(),
        score: r.score.0,
        raw_score: r.raw_score.0,
        decided_after_layer: r.decided_after_layer,
        truncated: r.truncated,
    };
    let output = Output {
        query: &args.query,
        model: &reranker.info().name,
        results: selection.results.iter().map(result).collect(),
        stats: &selection.stats,
        audits: reranker.audits(),
    };
    output::json(out, &output)
}

/// Aligned and cut to the width on a terminal; tab-separated and whole elsewhere.
fn print_table(
    out: &mut impl Write,
    args: &RerankArgs,
    texts: &[Text],
    selection: &Selection,
) -> Result<()> {
    let score = |r: &Ranked| match args.raw_scores {
        true => format!("{:.4}", r.raw_score),
        false => format!("{:.4}", r.score),
    };
    let name = |r: &Ranked| match &texts[r.index].id {
        Some(Value::String(id)) => output::printable(id),
        Some(id) => id.to_string(),
        None => r.index.to_string(),
    };
    let rows: Vec<[String; 3]> = selection
        .results
        .iter()
        .map(|r| [score(r), name(r), output::printable(&texts[r.index].text)])
        .collect();
    match output::terminal_width() {
        Some(width) => {
            let by_id = selection.results.iter().any(|r| texts[r.index].id.is_some());
            let header = [
                if args.raw_scores { "logit" } else { "score" },
                if by_id { "id" } else { "index" },
                "text",
            ];
            output::table(out, header, &rows, width)
        }
        None => rows.iter().try_for_each(|row| Ok(writeln!(out, "{}", row.join("\t"))?)),
    }
}

fn print_stats(stats: &Stats, audits: &AuditTotals) {
    let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1e3);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    eprintln!(
        "candidates  {} ({} distinct, {} truncated)",
        stats.candidates, stats.distinct_candidates, stats.truncated
    );
    eprintln!(
        "tokens      {} in {} chunks, {} of them a shared prefix computed once",
        stats.tokens, stats.chunks, stats.prefix_tokens
    );
    let full = (stats.distinct_candidates * stats.layers) as f64;
    eprintln!(
        "layers      {}, {:.1} % of candidate-layers computed",
        stats.layers,
        100.0 * stats.candidate_layers as f64 / full
    );
    stats.funnel.iter().for_each(print_layer);
    if let (Some(audit), Some(mean)) = (&stats.audit, audits.mean_overlap) {
        eprintln!(
            "audit       pruning would have kept {:.1} % of the top K with {:.1} % of candidate-layers",
            100.0 * audit.overlap_at_k,
            100.0 * audit.candidate_layers as f64 / full
        );
        eprintln!(
            "audits      {} of {} requests, mean overlap {mean:.3}",
            audits.audited, audits.requests
        );
    }
    eprintln!("threads     {}", stats.threads);
    eprintln!("tokenize    {}", ms(stats.tokenize));
    eprintln!(
        "embed       {} (row cache {} of {} rows, {} read)",
        ms(stats.embed),
        stats.row_cache_hits,
        stats.row_cache_hits + stats.row_cache_misses,
        mib(stats.row_bytes_read)
    );
    eprintln!(
        "read        {} ({}{}), {:.0} % behind computing",
        ms(stats.read),
        mib(stats.weight_bytes_read),
        if stats.direct_io { ", past the page cache" } else { "" },
        100.0 * stats.overlap
    );
    eprintln!("stall       {}", ms(stats.stall));
    eprintln!("compute     {}", ms(stats.compute));
    if stats.spill_bytes_written > 0 {
        eprintln!(
            "spill       {} written, {} read, {} waited",
            mib(stats.spill_bytes_written),
            mib(stats.spill_bytes_read),
            ms(stats.spill_wait)
        );
    }
    if let Some(error) = &stats.spill_error {
        eprintln!("spill       stayed in memory: {error}");
    }
    eprintln!("total       {}", ms(stats.total));
    for (name, bytes) in stats.memory.planned.uses() {
        if bytes > 0 {
            eprintln!("planned     {:<16} {}", name.replace('_', " "), mib(bytes));
        }
    }
    eprintln!("planned     {:<16} {}", "total", mib(stats.memory.planned.total()));
    if let Some(budget) = stats.memory.budget {
        eprintln!("budget      {}", mib(budget));
    }
    if let Some(bytes) = stats.peak_rss_bytes {
        eprintln!("peak rss    {}", mib(bytes));
    }
}

/// One line of the funnel, for layers after which pruning looked at the scores.
fn print_layer(layer: &LayerStats) {
    if let Some(dispersion) = layer.dispersion {
        eprintln!(
            "layer {:<5} {} live, dispersion {dispersion:.3}, {} clusters: {} accepted, {} dropped",
            layer.layer,
            layer.live,
            layer.clusters.len(),
            layer.accepted.len(),
            layer.dropped.len()
        );
    }
}

/// The funnel: who was decided after each layer, and why.
fn explain(selection: &Selection) {
    let texts = |indices: &[usize]| match indices {
        [] => "nobody".to_string(),
        some => some.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
    };
    for layer in &selection.stats.funnel {
        let Some(reason) = &layer.reason else {
            eprintln!("layer {:>2}  {} live", layer.layer, layer.live);
            continue;
        };
        let dispersion = layer.dispersion.unwrap_or(f64::NAN);
        eprintln!(
            "layer {:>2}  {} live, dispersion {dispersion:.3}: {reason}",
            layer.layer, layer.live
        );
        if !layer.clusters.is_empty() {
            let cluster =
                |c: &grating::prune::Cluster| format!("{} around {:.3}", c.size, c.center);
            let clusters: Vec<String> = layer.clusters.iter().map(cluster).collect();
            eprintln!("          clusters: {}", clusters.join(", "));
        }
        if !layer.accepted.is_empty() || !layer.dropped.is_empty() {
            eprintln!("          accepted: {}", texts(&layer.accepted));
            eprintln!("          dropped:  {}", texts(&layer.dropped));
            eprintln!("          deferred: {}", layer.deferred);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_can_be_drawn() {
        super::progress_bar().finish_and_clear();
    }
}
