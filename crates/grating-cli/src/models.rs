//! `grating models` and `grating pull`: what there is on the hub, and having it here.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use grating::hub::{self, HubOptions};
use grating::{ModelSource, PublishedModel, published_models};
use serde::Serialize;

use crate::args::{ModelsArgs, PullArgs};
use crate::exit::ExitCode;
use crate::{model, output};

/// A published model, and where it is on this machine.
#[derive(Serialize)]
struct Listed {
    names: &'static [&'static str],
    id: &'static str,
    family: &'static str,
    parameters: &'static str,
    licence: &'static str,
    tokens: usize,
    languages: &'static str,
    /// Its folder in the cache, if it is whole.
    cached: Option<PathBuf>,
}

/// Prints the models of the catalogue.
pub(crate) fn list(args: &ModelsArgs) -> Result<ExitCode> {
    // Whoever has no cache folder has no model in it.
    let cache = HubOptions::from_env().ok().map(|options| options.offline(true));
    let models: Vec<Listed> =
        published_models().iter().map(|model| listed(model, cache.as_ref())).collect();
    let mut out = output::stdout();
    match args.json {
        true => output::json(&mut out, &models)?,
        false => print(&mut out, &models)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn listed(model: &PublishedModel, cache: Option<&HubOptions>) -> Listed {
    let &PublishedModel { names, id, family, parameters, licence, tokens, languages, .. } = model;
    let cached = cache.and_then(|cache| hub::fetch(id, None, cache, |_| {}).ok());
    Listed { names, id, family, parameters, licence, tokens, languages, cached }
}

fn print(out: &mut impl Write, models: &[Listed]) -> Result<()> {
    let rows = models.iter().map(|model| {
        let here = if model.cached.is_some() { "yes" } else { "" };
        let tokens = model.tokens.to_string();
        [model.names[0], model.id, model.parameters, &tokens, model.licence, here].map(String::from)
    });
    let titles = ["name", "hub id", "parameters", "tokens", "licence", "cached"].map(String::from);
    let rows: Vec<[String; 6]> = std::iter::once(titles).chain(rows).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Fetches models and prints where they are, one a line.
pub(crate) fn pull(args: &PullArgs) -> Result<ExitCode> {
    let ids: Vec<String> = args.models.iter().map(|given| id(given)).collect::<Result<_>>()?;
    let mut out = output::stdout();
    for id in ids {
        let folder = model::fetch(&id, args.revision.as_deref(), false)?;
        writeln!(out, "{}", folder.display())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn id(given: &OsStr) -> Result<String> {
    match ModelSource::parse(given)? {
        ModelSource::Hub { id, .. } => Ok(id),
        _ => bail!("{} is a folder or file: it is here already", given.to_string_lossy()),
    }
}
