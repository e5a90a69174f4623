//! `grating plan`.

use std::io::Write;

use anyhow::Result;

use crate::args::PlanArgs;
use crate::exit::ExitCode;
use crate::{engine, notice, output};

/// Of a text, where nobody says.
const TOKENS: usize = 256;

pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let mut builder = engine::builder(args.model.resolve()?, &args.engine);
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    let reranker = engine::build(builder)?;
    let limit = reranker.info().max_length;
    if let Some(tokens) = args.tokens.filter(|tokens| *tokens > limit) {
        eprintln!(
            "grating: texts of {tokens} tokens are cut at {limit}, which is planned for; {}",
            notice::how_to_raise(reranker.info())
        );
    }
    let plan = reranker.plan(args.candidates, args.tokens.unwrap_or(TOKENS).min(limit));
    let plan = plan.map_err(engine::with_option)?;
    let mut out = output::stdout();
    match args.json {
        true => output::json(&mut out, &plan)?,
        false => write!(out, "{plan}")?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
