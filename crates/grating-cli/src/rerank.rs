//! `grating rerank`.

mod print;
mod stats;

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::error::ErrorKind;
use grating::input::{BodyOptions, Query, QueryList, TextList};
use grating::{PruningNotices, Request, Reranker, Selection, Texts};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::args::{Cli, RerankArgs};
use crate::deadline::Deadline;
use crate::engine::Opening;
use crate::exit::ExitCode;
use crate::notice::Truncations;
use crate::{engine, input, output};

/// What is to be answered.
struct Work {
    queries: QueryList,
    /// Texts of the queries that have none of their own.
    texts: Arc<TextList>,
    /// What a request body asks for.
    body: BodyOptions,
}

impl Work {
    /// A query's texts, as a list with the part of it.
    fn texts_of(&self, query: &Query<'_>) -> (&Arc<TextList>, Range<usize>) {
        match &query.texts {
            Some(own) => (self.queries.pool(), own.clone()),
            None => (&self.texts, 0..self.texts.len()),
        }
    }

    /// What a query asks for beside.
    fn options(&self, query: &Query<'_>) -> BodyOptions {
        if self.body == BodyOptions::default() { query.options } else { self.body }
    }
}

/// K where nobody says.
const TOP_K: usize = 10;

pub(crate) fn run(args: &RerankArgs) -> Result<ExitCode> {
    let deadline = args.deadline.map(Deadline::after);
    let model = Opening::new(|| {
        let reranker = build(args)?;
        engine::warn_of_instruction(args.instruction.as_deref(), &reranker);
        Ok(reranker)
    });
    // Cheap mistakes come to light before a model is fetched or loaded.
    args.timeline.iter().try_for_each(|file| output::check_file(file))?;
    args.long.warn_of_idle();
    refuse_to_overwrite_input(args);
    let work = read(args, &model, deadline)?;
    let reranker = model.get()?;
    let (mut truncations, mut notices) = (Truncations::default(), PruningNotices::default());
    let mut out = output::stdout();
    let requests = work.queries.iter().filter_map(|query| request(args, &work, &query, deadline));
    let mut selections = reranker.rerank_many(requests);
    for (number, query) in work.queries.iter().enumerate() {
        let (texts, range) = work.texts_of(&query);
        // One of many queries may have found nothing.
        let selection = match range.is_empty() {
            true => None,
            false => answer(args, &query, selections.next(), deadline)?,
        };
        if let Some(selection) = &selection {
            truncations.add(&selection.stats);
            if let Some(notice) = notices.of(&selection.stats) {
                eprintln!("grating: {}", notice.message);
            }
            if args.explain {
                stats::explain(selection, !args.stats);
            }
        }
        let (selection, options) = (selection.as_ref(), work.options(&query));
        let wanted = print::Wanted::new(args, &options);
        let first = range.start;
        let answered = print::Answered { query: &query, number, texts, first, selection, wanted };
        answered.print(&mut out, args, reranker)?;
        if let (Some(selection), true, false) = (selection, args.stats, args.json) {
            stats::print_stats(&selection.stats, &reranker.audits());
        }
    }
    out.flush()?;
    if let Some(message) = truncations.message(reranker.info(), args.max_text_tokens, &args.long) {
        eprintln!("grating: {message}");
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &RerankArgs, model: &Opening<'_>, deadline: Option<Deadline>) -> Result<Work> {
    let (options, file) = (input::options(args), args.file.as_deref());
    let budget = args.engine.memory_budget;
    let reading = input::Reading { options: &options, budget, model, deadline };
    if let Some(path) = &args.queries {
        let both = input::reads_standard(Some(path)) && input::reads_standard(file);
        if both && file.is_some() {
            both_standard();
        }
        let queries = reading.queries(path)?;
        if let Some(blank) = queries.iter().find(|query| query.query.trim().is_empty()) {
            return Err(input::blank_query(Some(path), blank.line));
        }
        let own = queries.iter().all(|query| query.texts.is_some());
        if both && !own {
            both_standard();
        }
        // Texts that no query needs are read where they are named, so that a mistake in them is told.
        let texts = match own && file.is_none() {
            true => TextList::default(),
            false => reading.texts(file)?.texts,
        };
        if !own {
            input::refuse_blanks(file, &texts)?;
        }
        return Ok(Work { queries, texts: Arc::new(texts), body: BodyOptions::default() });
    }
    if args.query.is_none() && input::is_terminal(file) {
        no_query();
    }
    let input = reading.texts(file)?;
    let Some(query) = args.query.clone().or(input.query) else { no_query() };
    if query.trim().is_empty() {
        return Err(input::blank_query(file, 1));
    }
    input::refuse_blanks(file, &input.texts)?;
    let (queries, texts) = (QueryList::one(&query), Arc::new(input.texts));
    Ok(Work { queries, texts, body: input.options })
}

fn no_query() -> ! {
    wrong_usage(
        ErrorKind::MissingRequiredArgument,
        "nothing to look for: give --query <TEXT> or --queries <FILE>, or a request body with a `query`",
    )
}

fn both_standard() -> ! {
    wrong_usage(
        ErrorKind::ArgumentConflict,
        "queries and texts cannot both be read from standard input: name a FILE for one of them, or give each query \
         `texts` of its own",
    )
}

/// A timeline in place of the texts would be their end.
fn refuse_to_overwrite_input(args: &RerankArgs) {
    let real = |path: &PathBuf| path.canonicalize().ok();
    let written = args.timeline.as_ref().and_then(real);
    let read = args.file.iter().chain(&args.queries);
    if written.is_some_and(|written| read.filter_map(real).any(|read| read == written)) {
        wrong_usage(
            ErrorKind::ArgumentConflict,
            "--timeline names a file that is read: name another one, which may be written over",
        )
    }
}

/// Told as the parser of the arguments tells it.
fn wrong_usage(kind: ErrorKind, message: &str) -> ! {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut("rerank") {
        Some(rerank) => rerank.error(kind, message).exit(),
        None => command.error(kind, message).exit(),
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
    if let Some(long) = args.long.long() {
        builder = builder.long(long);
    }
    engine::build(builder)
}

/// What a query comes to for the library, with a progress bar; nothing where there are no texts.
fn request(
    args: &RerankArgs,
    work: &Work,
    query: &Query<'_>,
    deadline: Option<Deadline>,
) -> Option<Request> {
    let (texts, range) = work.texts_of(query);
    if range.is_empty() {
        return None;
    }
    let k = args.top_k.or(work.options(query).top_n).unwrap_or(TOP_K);
    let request =
        Request::new(query.query, Texts::part(texts, range), k).timeline(args.timeline.is_some());
    let request = match deadline {
        Some(deadline) => request.deadline(deadline.left()),
        None => request,
    };
    let request = match args.max_text_tokens {
        Some(tokens) => request.max_text_tokens(tokens),
        None => request,
    };
    let request = match args.pruning.mode {
        Some(mode) => request.mode(mode.into()),
        None => request,
    };
    // Goes with the request, and is cleared then.
    let bar = progress_bar();
    let mut began = None;
    Some(request.on_progress(move |progress| {
        let began = began.get_or_insert_with(Instant::now);
        if bar.is_hidden() && began.elapsed() > LONG && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(format!("layer {} of {}", progress.layer + 1, progress.layers));
    }))
}

/// The answer to one query, of several with the place of one that failed; its timeline goes to its file.
fn answer(
    args: &RerankArgs,
    query: &Query<'_>,
    selection: Option<grating::Result<Selection>>,
    deadline: Option<Deadline>,
) -> Result<Option<Selection>> {
    let selection = selection.transpose().map_err(|error| match (error, deadline) {
        // In what was allowed from the start.
        (grating::Error::DeadlineExceeded { .. }, Some(deadline)) => deadline.exceeded(),
        (error, _) => error,
    });
    let selection = match &args.queries {
        Some(file) => {
            selection.with_context(|| format!("{}: line {}", file.display(), query.line))?
        }
        None => selection?,
    };
    if let (Some(selection), Some(file)) = (&selection, &args.timeline) {
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
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden())
        .with_style(style)
        .with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_can_be_drawn() {
        super::progress_bar().finish_and_clear();
    }
}
