//! `grating rerank`.

mod print;
mod stats;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::error::ErrorKind;
use grating::input::{QueryInput, Text};
use grating::{Request, Reranker, Selection};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::args::{Cli, RerankArgs};
use crate::notice::Truncations;
use crate::{engine, input};

/// What is to be answered.
struct Work {
    queries: Vec<Asked>,
    /// `top_n` of a request body.
    top_n: Option<usize>,
}

/// A query with its texts, which queries share that have none of their own.
struct Asked {
    query: QueryInput,
    texts: Arc<Vec<Text>>,
}

/// K where nobody says.
const TOP_K: usize = 10;

pub(crate) fn run(args: &RerankArgs) -> Result<ExitCode> {
    // Cheap mistakes come to light before a model is fetched or loaded.
    let work = read(args)?;
    let k = args.top_k.or(work.top_n).unwrap_or(TOP_K);
    let reranker = build(args)?;
    engine::warn_of_instruction(args.instruction.as_deref(), &reranker);
    let mut truncations = Truncations::default();
    let mut out = std::io::stdout().lock();
    // One of many queries may have found nothing.
    let requests = work.queries.iter().filter(|asked| !asked.texts.is_empty());
    let mut selections = reranker.rerank_many(requests.map(|asked| request(args, asked, k)));
    for (number, asked) in work.queries.iter().enumerate() {
        let selection = match asked.texts.is_empty() {
            true => None,
            false => answer(args, &asked.query, selections.next())?,
        };
        if let Some(selection) = &selection {
            truncations.add(&selection.stats);
            if args.pruning.explain {
                stats::explain(selection, !args.stats);
            }
        }
        let Asked { query, texts } = asked;
        let answered = print::Answered { query, number, texts, selection: selection.as_ref() };
        answered.print(&mut out, args, &reranker)?;
        if let (Some(selection), true, false) = (&selection, args.stats, args.json) {
            stats::print_stats(&selection.stats, &reranker.audits());
        }
    }
    out.flush()?;
    if let Some(message) = truncations.message(reranker.info()) {
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
        let shared = Arc::new(texts);
        let asked = |mut query: QueryInput| {
            let texts = query.texts.take().map_or_else(|| Arc::clone(&shared), Arc::new);
            Asked { query, texts }
        };
        return Ok(Work { queries: queries.into_iter().map(asked).collect(), top_n: None });
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
    let asked = Asked { query, texts: Arc::new(input.texts) };
    Ok(Work { queries: vec![asked], top_n: input.top_n })
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

/// What `asked` comes to for the library, with a progress bar.
fn request(args: &RerankArgs, asked: &Asked, k: usize) -> Request {
    let request = Request::new(&asked.query.query, Arc::clone(&asked.texts), k)
        .timeline(args.timeline.is_some());
    let request = match args.deadline {
        Some(allowed) => request.deadline(allowed),
        None => request,
    };
    let request = match args.pruning.mode {
        Some(mode) => request.mode(mode.into()),
        None => request,
    };
    // Goes with the request, and is cleared then.
    let bar = progress_bar();
    let mut began = None;
    request.on_progress(move |progress| {
        let began = began.get_or_insert_with(Instant::now);
        if bar.is_hidden() && began.elapsed() > LONG && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(format!("layer {} of {}", progress.layer + 1, progress.layers));
    })
}

/// The answer to one query, of several with the place of one that failed; its timeline goes to its file.
fn answer(
    args: &RerankArgs,
    query: &QueryInput,
    selection: Option<grating::Result<Selection>>,
) -> Result<Option<Selection>> {
    let selection = selection.transpose();
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
