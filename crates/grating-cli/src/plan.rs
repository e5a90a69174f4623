//! `grating plan`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::PlanArgs;
use crate::{engine, output};

pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let reranker = engine::builder(&args.model, &args.engine)?.build()?;
    let plan = reranker.plan(args.candidates, args.tokens)?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => output::json(&mut out, &plan)?,
        false => write!(out, "{plan}")?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
