//! Texts and queries, from a file or standard input.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use grating::input::{
    Input, InputError, InputFormat, InputOptions, InputProblem, QueryInput, parse_queries,
};

use crate::args::{Format, RerankArgs};

pub(crate) fn options(args: &RerankArgs) -> InputOptions {
    let format = match args.format {
        Format::Auto => InputFormat::Auto,
        Format::Lines => InputFormat::Lines,
        Format::Json => InputFormat::Json,
    };
    InputOptions::default()
        .format(format)
        .text_fields(args.text_field.clone())
        .id_field(args.id_field.clone())
        .keep_fields(args.json)
}

/// Whether texts would have to be typed.
pub(crate) fn is_terminal(file: Option<&Path>) -> bool {
    file.is_none() && std::io::stdin().is_terminal()
}

/// Reads texts with what came beside them; `-` and nothing are standard input.
pub(crate) fn texts(file: Option<&Path>, options: &InputOptions) -> Result<Input> {
    if is_terminal(file) {
        bail!("no texts: name a FILE, or pipe texts in (`-` reads what you type)");
    }
    let (name, bytes) = read(file)?;
    Input::parse(&bytes, options).map_err(|e| with_advice(&name, &e, options))
}

/// That there is nothing to rank.
pub(crate) fn no_texts(file: Option<&Path>) -> anyhow::Error {
    let name = file.filter(|path| *path != Path::new("-"));
    let name = name.map_or("standard input".into(), |path| path.display().to_string());
    anyhow!("{name}: there are no texts to rank")
}

/// Reads all queries; `-` is standard input.
pub(crate) fn queries(file: &Path, options: &InputOptions) -> Result<Vec<QueryInput>> {
    let (name, bytes) = read(Some(file))?;
    let queries = parse_queries(&bytes, options).map_err(|e| with_advice(&name, &e, options))?;
    if queries.is_empty() {
        bail!("{name}: there are no queries");
    }
    Ok(queries)
}

fn read(file: Option<&Path>) -> Result<(String, Vec<u8>)> {
    match file.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let bytes =
                self::bytes(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((path.display().to_string(), bytes))
        }
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            Ok(("standard input".to_string(), bytes))
        }
    }
}

/// All bytes of a regular file, or of an open descriptor by its path, as `<(command)` of a shell is one.
///
/// # Errors
/// The system's; named pipes and devices are refused, since they may wait forever or never end.
pub(crate) fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() && (kind.is_dir() || !is_descriptor(path)) {
        let kind = if kind.is_dir() { "a folder" } else { "a pipe or device" };
        let words = format!("it is {kind}, not a regular file; pipes can be read as `-`");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, words));
    }
    std::fs::read(path)
}

/// `/dev/stdin`, `/dev/fd/63`, `/proc/self/fd/0`.
fn is_descriptor(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    path == Path::new("/dev/stdin")
        || parent == Path::new("/dev/fd")
        || parent.starts_with("/proc") && parent.ends_with("fd")
}

/// The error with the options that change what is read.
fn with_advice(name: &str, error: &InputError, options: &InputOptions) -> anyhow::Error {
    use InputProblem::{Ambiguous, NoText, NotAString, NotUtf8, Several};
    let mut advice = match &error.problem {
        NotUtf8 => return anyhow!("{name}: {error}"),
        // A query's field cannot be named.
        NoText { looked_for, .. } if looked_for.first().is_some_and(|name| name == "query") => {
            String::new()
        }
        NoText { .. } | Ambiguous { .. } | NotAString { .. } => {
            "; --text-field names the field that is the text".to_string()
        }
        Several => "; --queries reads several requests".to_string(),
        _ => String::new(),
    };
    if options.format == InputFormat::Auto {
        advice += "; --format lines takes every line for a text as it is";
    }
    anyhow!("{name}: {error}{advice}")
}
