//! Texts and queries, from a file or standard input.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use grating::input::{
    Input, InputFormat, InputOptions, InputProblem, MemoryRoom, QueryList, ReadError, TextList,
};

use crate::args::{Format, RerankArgs};
use crate::deadline::Deadline;
use crate::engine::Opening;

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

/// What is read from, in how much memory.
pub(crate) struct Reading<'a> {
    pub(crate) options: &'a InputOptions,
    pub(crate) budget: Option<u64>,
    /// The model, which takes its own part of the budget.
    pub(crate) model: &'a Opening<'a>,
    /// Until when the answer is wanted.
    pub(crate) deadline: Option<Deadline>,
}

impl Reading<'_> {
    /// Reads texts with what came beside them; `-` and nothing are standard input.
    pub(crate) fn texts(&self, file: Option<&Path>) -> Result<Input> {
        if is_terminal(file) {
            bail!("no texts: name a FILE, or pipe texts in (`-` reads what you type)");
        }
        let input = Input::read(self.open(file)?, self.options, &mut self.room());
        input.map_err(|error| self.failure(file, error, "; --queries reads several requests", true))
    }

    /// Reads all queries; `-` is standard input.
    pub(crate) fn queries(&self, file: &Path) -> Result<QueryList> {
        let queries = QueryList::read(self.open(Some(file))?, self.options, &mut self.room());
        let queries = queries.map_err(|error| self.failure(Some(file), error, "", false))?;
        if queries.is_empty() {
            bail!("{}: there are no queries", name(Some(file)));
        }
        Ok(queries)
    }

    fn open(&self, file: Option<&Path>) -> Result<Box<dyn Read>> {
        let input: Box<dyn Read + Send> = match file.filter(|_| !is_standard(file)) {
            Some(path) => {
                let file = regular(path).map_err(|error| match error.kind() {
                    ErrorKind::InvalidInput if !path.is_dir() => {
                        anyhow!("{error}; what comes through a pipe is read as `-`")
                    }
                    _ => error.into(),
                });
                Box::new(file.with_context(|| format!("cannot read {}", path.display()))?)
            }
            None => Box::new(std::io::stdin()),
        };
        Ok(match self.deadline {
            Some(deadline) => Box::new(deadline.read(input)),
            None => input,
        })
    }

    /// Within the budget the model is opened before much is read, so that what it takes is known.
    fn room(&self) -> MemoryRoom<'_> {
        match self.budget {
            Some(budget) => MemoryRoom::within(budget).prepare(|| self.model.open_for_reading()),
            None => MemoryRoom::unlimited(),
        }
    }

    fn failure(
        &self,
        file: Option<&Path>,
        error: ReadError,
        several: &str,
        texts: bool,
    ) -> anyhow::Error {
        match error {
            ReadError::Input(error) => {
                let advice = advice(&error.problem, self.options, several, texts);
                anyhow!("{}: {error}{advice}", name(file))
            }
            ReadError::Io(error) => {
                let late = self.deadline.filter(|_| error.kind() == ErrorKind::TimedOut);
                let late = late.map(|deadline| deadline.exceeded().into());
                self.model.failure().or(late).unwrap_or_else(|| {
                    anyhow::Error::new(error).context(format!("cannot read {}", name(file)))
                })
            }
            other => anyhow::Error::new(other).context(name(file)),
        }
    }
}

/// Fails where there is nothing to rank: an order of texts without words would mean nothing.
pub(crate) fn refuse_blanks(file: Option<&Path>, texts: &TextList) -> Result<()> {
    let name = name(file);
    match texts.len() {
        _ if texts.iter().any(|text| !text.text.trim().is_empty()) => Ok(()),
        0 => bail!("{name}: there are no texts to rank"),
        1 => bail!("{name}: there are no texts to rank: the only one is blank"),
        count => bail!("{name}: there are no texts to rank: all {count} are blank"),
    }
}

/// That nothing is looked for.
pub(crate) fn blank_query(file: Option<&Path>, line: usize) -> anyhow::Error {
    anyhow!(
        "{}: line {line}: the query is blank: say what the texts are to be ranked by",
        name(file)
    )
}

/// Whether that is standard input.
fn is_standard(file: Option<&Path>) -> bool {
    file.is_none_or(|path| path == Path::new("-"))
}

/// Whether it is read from standard input, by whatever name.
pub(crate) fn reads_standard(file: Option<&Path>) -> bool {
    const NAMES: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    is_standard(file) || file.is_some_and(|path| NAMES.iter().any(|name| path == Path::new(name)))
}

fn name(file: Option<&Path>) -> String {
    match file.filter(|_| !is_standard(file)) {
        Some(path) => path.display().to_string(),
        None => "standard input".into(),
    }
}

/// Opens a regular file, or an open descriptor by its path, as `<(command)` of a shell is one.
///
/// # Errors
/// The system's; named pipes and devices are refused, since they may wait forever or never end.
pub(crate) fn regular(path: &Path) -> std::io::Result<File> {
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() && (kind.is_dir() || !is_descriptor(path)) {
        let kind = if kind.is_dir() { "a folder" } else { "a pipe or device" };
        let words = format!("it is {kind}, not a regular file");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, words));
    }
    File::open(path)
}

/// `/dev/stdin`, `/dev/fd/63`, `/proc/self/fd/0`.
fn is_descriptor(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    path == Path::new("/dev/stdin")
        || parent == Path::new("/dev/fd")
        || parent.starts_with("/proc") && parent.ends_with("fd")
}

/// The options that change what is read.
fn advice(problem: &InputProblem, options: &InputOptions, several: &str, texts: bool) -> String {
    use InputProblem::{
        Ambiguous, Compressed, NoField, NoText, NotAString, NotUtf8, OverBudget, Several,
    };
    let mut advice = match problem {
        NotUtf8 | Compressed { .. } => return String::new(),
        NotAString { field, .. } if field == "query" => String::new(),
        NoField { .. } => return "; --id-field names the field that is the id".into(),
        OverBudget { .. } => return " (--memory-budget)".into(),
        // A query's field cannot be named.
        NoText { .. } | Ambiguous { .. } | NotAString { .. } if texts => {
            "; --text-field names the field that is the text".to_string()
        }
        Several => several.to_string(),
        _ => String::new(),
    };
    if options.format == InputFormat::Auto {
        let what = if texts { "a text" } else { "a query" };
        advice += &format!("; --format lines takes every line for {what} as it is");
    }
    advice
}
