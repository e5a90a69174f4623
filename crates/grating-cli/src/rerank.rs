//! `grating rerank`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use grating::{Ranked, Request, Reranker, Selection, Stats};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::args::RerankArgs;
use crate::input::{self, Text};
use crate::{model, output};

pub(crate) fn run(args: &RerankArgs) -> Result<ExitCode> {
    // Cheap mistakes come to light before a model is fetched or loaded.
    let texts = input::read(args.file.as_deref(), args.format)?;
    let reranker = build(args)?;
    let bar = progress_bar();
    let started = Instant::now();
    let request = Request::new(&args.query, &texts, args.top_k).on_progress(|progress| {
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

    let mut out = std::io::stdout().lock();
    if args.json {
        print_json(&mut out, args, &reranker, &texts, &selection)?;
    } else {
        print_table(&mut out, args, &texts, &selection)?;
        if args.stats {
            print_stats(&selection.stats);
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn build(args: &RerankArgs) -> Result<Reranker> {
    let mut builder = Reranker::builder()
        .source(model::resolve(args.model.model.as_deref(), args.model.revision.as_deref())?)
        .allow_query_truncation(args.allow_query_truncation)
        .special_tokens_in_text(args.special_tokens_in_text);
    if let Some(instruction) = &args.instruction {
        builder = builder.instruction(instruction);
    }
    if let Some(threads) = args.threads {
        builder = builder.threads(threads);
    }
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    if let Some(tokens) = args.chunk_tokens {
        builder = builder.chunk_tokens(tokens);
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

fn print_stats(stats: &Stats) {
    let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1e3);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    eprintln!(
        "candidates  {} ({} distinct, {} truncated)",
        stats.candidates, stats.distinct_candidates, stats.truncated
    );
    eprintln!("tokens      {} in {} chunks, {} layers", stats.tokens, stats.chunks, stats.layers);
    eprintln!("threads     {}", stats.threads);
    eprintln!("tokenize    {}", ms(stats.tokenize));
    eprintln!("read        {} ({})", ms(stats.read), mib(stats.bytes_read));
    eprintln!("compute     {}", ms(stats.compute));
    eprintln!("total       {}", ms(stats.total));
    if let Some(bytes) = stats.peak_rss_bytes {
        eprintln!("peak rss    {}", mib(bytes));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_can_be_drawn() {
        super::progress_bar().finish_and_clear();
    }
}
