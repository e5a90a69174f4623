//! Sample queries with their pools, from files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use grating_io::shown;
use grating_prune::TokenPolicy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::CalibrateError;
use crate::fingerprint::hex;
use crate::input::{
    InputError, InputFormat, InputOptions, MemoryRoom, QueryList, ReadError, passage,
    without_lone_surrogates,
};

/// Sample queries, each with its pool of candidates.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Dataset {
    /// Name of the folder or file.
    pub name: String,
    /// The queries, in the order of the file.
    pub queries: Vec<Query>,
}

/// One query and its pool.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// Its id, or its number in the file, from 1.
    pub id: String,
    /// What is asked.
    pub text: String,
    /// The candidates, each text once.
    pub texts: Vec<String>,
    /// What people judged, where they did.
    pub judgments: Option<Judgments>,
}

/// Relevance grades of one query; 0 is not relevant, and what nobody judged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Judgments {
    /// Of each candidate, as [`Query::texts`].
    pub pool: Vec<u32>,
    /// Of everything that was judged, also outside of the pool.
    pub all: Vec<u32>,
}

impl Query {
    /// SHA-256 of query and pool, in hex: what a trace is filed under, and where the query stands in the split.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        for text in std::iter::once(&self.text).chain(&self.texts) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hex(&hash.finalize())
    }

    /// What a trace of it is filed under in which tokens left by a policy; as [`Self::key`] where none did.
    pub(super) fn key_under(&self, tokens: Option<&TokenPolicy>) -> String {
        match tokens.map(serde_json::to_string) {
            Some(Ok(policy)) => format!("{} {policy}", self.key()),
            // Plain numbers and words can be written.
            _ => self.key(),
        }
    }

    /// A query that nobody judged. Of equal texts the first counts.
    pub fn new(
        id: impl Into<String>,
        text: impl Into<String>,
        texts: impl IntoIterator<Item = String>,
    ) -> Self {
        let pool = texts.into_iter().map(|text| (text, 0)).collect();
        Self::with_grades(id.into(), text.into(), pool, None)
    }

    /// Each text once, its best grade with it.
    fn with_grades(
        id: String,
        text: String,
        pool: Vec<(String, u32)>,
        judged: Option<Vec<u32>>,
    ) -> Self {
        let mut places: HashMap<String, usize> = HashMap::with_capacity(pool.len());
        let (mut texts, mut grades) = (Vec::new(), Vec::<u32>::new());
        for (text, grade) in pool {
            match places.get(&text) {
                Some(&place) => grades[place] = grades[place].max(grade),
                None => {
                    places.insert(text.clone(), texts.len());
                    texts.push(text);
                    grades.push(grade);
                }
            }
        }
        let judgments = judged.map(|all| Judgments { pool: grades, all });
        Query { id, text, texts, judgments }
    }
}

impl Dataset {
    /// Queries that are in memory, with a name for the profile.
    pub fn new(name: impl Into<String>, queries: Vec<Query>) -> Self {
        Dataset { name: name.into(), queries }
    }

    /// Reads a folder in BEIR layout with pools, or a file of JSON lines.
    ///
    /// A folder has `corpus.jsonl` (`_id`, `text`, optional `title`), `queries.jsonl` (`_id`, `text`),
    /// `candidates.jsonl` (`query`, `candidates`) and, where there are judgments, `qrels/test.tsv`. A text is its title
    /// and its text, as BEIR has it. A file has one object a line, or an array of them, as
    /// [`QueryList`] reads them: `query`, `texts` and optional `grades`, one for each
    /// text.
    ///
    /// # Errors
    /// [`CalibrateError::File`], [`CalibrateError::Line`], [`CalibrateError::Unknown`].
    pub fn read(path: &Path) -> Result<Self, CalibrateError> {
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let queries = match path.is_dir() {
            true => read_folder(path)?,
            false => read_file(path)?,
        };
        Ok(Dataset { name, queries })
    }

    /// At most `count` queries: the first by [`Query::key`], which is as good as at random. The order of the rest
    /// stays.
    #[must_use]
    pub fn sample(mut self, count: usize) -> Self {
        if count < self.queries.len() {
            let mut keys: Vec<String> = self.queries.iter().map(Query::key).collect();
            keys.sort_unstable();
            let last = count.checked_sub(1).map(|i| keys[i].clone());
            self.queries.retain(|query| last.as_ref().is_some_and(|last| query.key() <= *last));
        }
        self
    }
}

#[derive(Deserialize)]
struct Document {
    _id: Id,
    title: Option<String>,
    text: String,
}

#[derive(Deserialize)]
struct Pool {
    query: Id,
    candidates: Vec<Id>,
}

/// A string, or a number as it is written.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(id) => Ok(Id(id)),
            serde_json::Value::Number(id) => Ok(Id(id.to_string())),
            _ => Err(serde::de::Error::custom("an id is neither a string nor a number")),
        }
    }
}

impl Document {
    fn passage(self) -> String {
        passage(&self.title.unwrap_or_default(), self.text)
    }
}

fn read_folder(folder: &Path) -> Result<Vec<Query>, CalibrateError> {
    let corpus = json_lines::<Document>(&folder.join("corpus.jsonl"))?;
    let corpus: HashMap<String, String> =
        corpus.into_iter().map(|d| (d._id.0.clone(), d.passage())).collect();
    let queries = json_lines::<Document>(&folder.join("queries.jsonl"))?;
    let queries: HashMap<String, String> = queries.into_iter().map(|q| (q._id.0, q.text)).collect();
    let judged = folder.join("qrels/test.tsv");
    let judged = judged.exists().then(|| judgments(&judged)).transpose()?;
    let path = folder.join("candidates.jsonl");
    let unknown = |kind, id: &str, holder| CalibrateError::Unknown {
        path: path.clone(),
        kind,
        id: id.to_string(),
        holder,
    };
    let query = |pool: Pool| {
        let id = pool.query.0;
        let text = queries.get(&id).ok_or_else(|| unknown("query", &id, "queries.jsonl"))?.clone();
        let grades = judged.as_ref().and_then(|judged| judged.get(&id));
        let grade = |text: &str| grades.and_then(|g| g.get(text)).copied().unwrap_or(0);
        let candidate = |Id(text): &Id| match corpus.get(text) {
            Some(passage) => Ok((passage.clone(), grade(text))),
            None => Err(unknown("text", text, "corpus.jsonl")),
        };
        let texts = pool.candidates.iter().map(candidate).collect::<Result<_, _>>()?;
        Ok(Query::with_grades(id, text, texts, grades.map(|g| g.values().copied().collect())))
    };
    json_lines::<Pool>(&path)?.into_iter().map(query).collect()
}

fn read_file(path: &Path) -> Result<Vec<Query>, CalibrateError> {
    let unreadable = |reason| CalibrateError::File { path: path.into(), reason };
    let file = crate::regular::open(path).map_err(unreadable)?;
    let wrong = |line, reason| CalibrateError::Line { path: path.into(), line, reason };
    let options = InputOptions { format: InputFormat::Json, ..InputOptions::default() };
    let inputs = QueryList::read(file, &options, &mut MemoryRoom::unlimited());
    let inputs = inputs.map_err(|error| match error {
        ReadError::Input(InputError { line, problem }) => wrong(line, problem.to_string()),
        ReadError::Io(reason) => unreadable(reason),
    })?;
    let query = |(at, input): (usize, crate::input::Query<'_>)| {
        let Some(range) = input.texts else {
            return Err(wrong(input.line, "there is no `texts`".into()));
        };
        let id = match input.id {
            Some(id) => serde_json::from_str(id.get()).unwrap_or_else(|_| id.get().to_string()),
            None => (at + 1).to_string(),
        };
        let grades = input.grades.clone().unwrap_or_else(|| vec![0; range.len()]);
        let texts = range.map(|index| inputs.pool().text(index).to_string());
        let pool = texts.zip(grades).collect();
        Ok(Query::with_grades(id, input.query.to_string(), pool, input.grades))
    };
    inputs.iter().enumerate().map(query).collect()
}

/// `query-id<TAB>corpus-id<TAB>score` under a heading; grades below 0 count as 0.
fn judgments(path: &Path) -> Result<HashMap<String, HashMap<String, u32>>, CalibrateError> {
    let mut judged = HashMap::<String, HashMap<String, u32>>::new();
    for (at, line) in lines(path)?.enumerate().skip(1) {
        let line = line.map_err(|reason| CalibrateError::File { path: path.into(), reason })?;
        let fields: Vec<&str> = line.split('\t').collect();
        let wrong = || {
            let reason = "it is not `query-id<TAB>corpus-id<TAB>score`".to_string();
            CalibrateError::Line { path: path.into(), line: at + 1, reason }
        };
        let [query, text, grade] = fields[..] else { return Err(wrong()) };
        let grade: i64 = grade.trim().parse().map_err(|_| wrong())?;
        let grade = u32::try_from(grade.max(0)).map_err(|_| wrong())?;
        judged.entry(query.to_string()).or_default().insert(text.to_string(), grade);
    }
    Ok(judged)
}

fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, CalibrateError> {
    let mut values = Vec::new();
    for (at, line) in lines(path)?.enumerate() {
        let line = line.map_err(|reason| CalibrateError::File { path: path.into(), reason })?;
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(&without_lone_surrogates(line)).map_err(|error| {
            let reason = shown(&error.to_string());
            CalibrateError::Line { path: path.into(), line: at + 1, reason }
        })?;
        values.push(value);
    }
    Ok(values)
}

fn lines(path: &Path) -> Result<std::io::Lines<BufReader<File>>, CalibrateError> {
    let file = crate::regular::open(path);
    let file = file.map_err(|reason| CalibrateError::File { path: path.into(), reason })?;
    Ok(BufReader::new(file).lines())
}
