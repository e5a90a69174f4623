//! `grating rerank`.

mod print;
mod stats;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::error::ErrorKind;
use grating::input::{QueryInput, Text};
use grating::{Request, Reranker, Selection};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{Cli, RerankArgs};
use crate::notice::Cuts;
use crate::{engine, input};

/// What is to be answered.
struct Work {
    queries: Vec<QueryInput>,
    /// Of the queries that have none of their own.
    texts: Vec<Text>,
    /// `top_n` of a request body.
    top_n: Option<usize>,
}

/// K where nobody says.
const TOP_K: usize = 10;

pub(crate) fn run(args: &RerankArgs) -> Result<ExitCode> {
    // Cheap mistakes come to light before a model is fetched or loaded.
    let work = read(args)?;
    let k = args.top_k.or(work.top_n).unwrap_or(TOP_K);
    let reranker = build(args)?;
    engine::warn_of_instruction(args.instruction.as_deref(), &reranker);
    let mut cuts = Cuts::default();
    let mut out = std::io::stdout().lock();
    for (number, query) in work.queries.iter().enumerate() {
        let texts = query.texts.as_deref().unwrap_or(&work.texts);
        let selection = match (texts, &args.queries) {
            // One of many queries may have found nothing.
            ([], Some(_)) => None,
            (_, None) => Some(answer(args, &reranker, &query.query, texts, k)?),
            (_, Some(file)) => {
                let place = || format!("{}: line {}", file.display(), query.line);
                let selection = answer(args, &reranker, &query.query, texts, k);
                Some(selection.with_context(place)?)
            }
        };
        if let Some(selection) = &selection {
            cuts.add(&selection.stats);
            if args.pruning.explain {
                stats::explain(selection);
            }
        }
        let answered = print::Answered { query, number, texts, selection: selection.as_ref() };
        answered.print(&mut out, args, &reranker)?;
        if let (Some(selection), true, false) = (&selection, args.stats, args.json) {
            stats::print_stats(&selection.stats, &reranker.audits());
        }
    }
    out.flush()?;
    if let Some(message) = cuts.message(reranker.info()) {
        eprintln!("grating: {message}");
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &RerankArgs) -> Result<Work> {
    let options = input::options(args);
    let file = args.file.as_deref();
    if let Some(queries) = &args.queries {
        let queries = input::queries(queries, &options)?;
        let own = queries.iter().all(|query| query.texts.is_some());
        // Texts that no query needs are read where they are named, so that a mistake in them is told.
        let texts = match own && file.is_none() {
            true => Vec::new(),
            false => input::texts(file, &options)?.texts,
        };
        if texts.is_empty() && !own {
            return Err(input::no_texts(file));
        }
        return Ok(Work { queries, texts, top_n: None });
    }
    if args.query.is_none() && input::is_terminal(file) {
        no_query();
    }
    let input = input::texts(file, &options)?;
    let Some(query) = args.query.clone().or(input.query) else { no_query() };
    if input.texts.is_empty() {
        return Err(input::no_texts(file));
    }
    let query = QueryInput::new(query);
    Ok(Work { queries: vec![query], texts: input.texts, top_n: input.top_n })
}

/// Wrong usage, told as the parser of the arguments tells it.
fn no_query() -> ! {
    let mut command = Cli::command();
    command.build();
    let message = "nothing to look for: give --query <TEXT> or --queries <FILE>, or a request body with a `query`";
    match command.find_subcommand_mut("rerank") {
        Some(rerank) => rerank.error(ErrorKind::MissingRequiredArgument, message).exit(),
        None => command.error(ErrorKind::MissingRequiredArgument, message).exit(),
    }
}

fn build(args: &RerankArgs) -> Result<Reranker> {
    let builder = engine::builder(args.model.resolve()?, &args.engine);
    let mut builder = engine::pruning(builder, &args.pruning)?
        .refuse_long_query(args.refuse_long_query)
        .special_tokens_in_text(args.special_tokens_in_text);
    if let Some(instruction) = &args.instruction {
        builder = builder.instruction(instruction);
    }
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    engine::build(builder)
}

fn answer(
    args: &RerankArgs,
    reranker: &Reranker,
    query: &str,
    texts: &[Text],
    k: usize,
) -> Result<Selection> {
    let bar = progress_bar();
    let started = Instant::now();
    let request = Request::new(query, texts, k).timeline(args.timeline.is_some());
    let request = match args.pruning.mode {
        Some(mode) => request.mode(mode.into()),
        None => request,
    };
    let shown = bar.clone();
    let request = request.on_progress(move |progress| {
        let bar = &shown;
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
    Ok(selection)
}

/// Work that is over before a reader would wonder needs no progress bar.
const LONG: Duration = Duration::from_millis(700);

/// Hidden at first; drawn on a terminal once the work has turned out to be long.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg} {eta}")
        .expect("the template is a constant that a test has drawn");
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden()).with_style(style)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_can_be_drawn() {
        super::progress_bar().finish_and_clear();
    }
}
