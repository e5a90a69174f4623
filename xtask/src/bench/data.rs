//! Data sets in BEIR layout, with candidate pools where there are some.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::workload::Workload;

/// Texts, queries, judgments and pools of one set.
#[derive(Debug)]
pub(crate) struct DataSet {
    pub(crate) name: String,
    pub(crate) queries: Vec<Query>,
}

/// One query with its pool.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) id: String,
    pub(crate) text: String,
    /// Texts in first-stage order.
    pub(crate) pool: Vec<String>,
    /// Grade of each pool text, 0 where it is not judged.
    pub(crate) grades: Vec<u32>,
    /// Grades of all judged texts of the query, also of those outside the pool.
    pub(crate) judged: Vec<u32>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

#[derive(Deserialize)]
struct PoolLine {
    query: String,
    candidates: Vec<String>,
}

impl DataSet {
    /// Reads a folder with corpus.jsonl, queries.jsonl, qrels/test.tsv and candidates.jsonl.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let corpus: Vec<Line> = lines(&folder.join("corpus.jsonl"))?;
        let corpus: HashMap<String, String> = corpus
            .into_iter()
            .map(|line| (line.id, format!("{} {}", line.title, line.text).trim().to_owned()))
            .collect();
        let texts: Vec<Line> = lines(&folder.join("queries.jsonl"))?;
        let texts: HashMap<String, String> = texts.into_iter().map(|l| (l.id, l.text)).collect();
        let judgments = judgments(&folder.join("qrels/test.tsv"))?;
        let pools: Vec<PoolLine> = lines(&folder.join("candidates.jsonl")).with_context(|| {
            format!(
                "{} has no pools; put a first stage's results into candidates.jsonl, one \
                 {{\"query\": id, \"candidates\": [ids]}} a line",
                folder.display()
            )
        })?;
        let none = HashMap::new();
        let mut queries = Vec::new();
        for PoolLine { query: id, candidates } in pools {
            let text = texts.get(&id).with_context(|| format!("no query is called {id}"))?.clone();
            let grades = judgments.get(&id).unwrap_or(&none);
            let pool = candidates.iter().filter(|id| corpus.contains_key(*id));
            queries.push(Query {
                pool: pool.clone().map(|id| corpus[id].clone()).collect(),
                grades: pool.map(|id| grades.get(id).copied().unwrap_or(0)).collect(),
                judged: grades.values().copied().collect(),
                id,
                text,
            });
        }
        ensure!(!queries.is_empty(), "{} has no query with a pool", folder.display());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, queries })
    }

    /// `count` judged queries spread evenly over the set.
    pub(super) fn sample(&self, count: usize) -> Vec<&Query> {
        self.spread(count).0
    }

    /// As many that [`sample`](Self::sample) leaves out, each halfway from one of its queries to the next;
    /// none where it takes nearly all.
    pub(super) fn between(&self, count: usize) -> Vec<&Query> {
        self.spread(count).1
    }

    fn spread(&self, count: usize) -> (Vec<&Query>, Vec<&Query>) {
        let judged: Vec<&Query> =
            self.queries.iter().filter(|q| q.judged.iter().any(|&grade| grade > 0)).collect();
        let count = count.min(judged.len());
        let at = |i: usize| i * judged.len() / count;
        let sampled = (0..count).map(|i| judged[at(i)]).collect();
        let middle = |i: usize| (at(i) + at(i + 1)) / 2;
        let between = (0..count).filter(|&i| middle(i) > at(i)).map(|i| judged[middle(i)]);
        (sampled, between.collect())
    }
}

impl Query {
    /// The first `candidates` of its pool.
    pub(super) fn workload(&self, set: &str, candidates: usize) -> Workload {
        let texts = self.pool.iter().take(candidates).cloned().collect();
        let name = format!("{set}/{}: first {candidates}", self.id);
        Workload { query: self.text.clone(), texts, name }
    }
}

/// Reads JSON lines.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), i + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Grades by query and text; negative ones count as 0.
fn judgments(path: &Path) -> Result<HashMap<String, HashMap<String, u32>>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut judgments: HashMap<String, HashMap<String, u32>> = HashMap::new();
    for (i, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty()) {
        let bad = || format!("{}, line {}: not query, text, grade", path.display(), i + 1);
        let mut fields = line.split('\t');
        let (Some(query), Some(text), Some(grade)) = (fields.next(), fields.next(), fields.next())
        else {
            anyhow::bail!(bad());
        };
        let grade: i64 = grade.trim().parse().with_context(bad)?;
        let grade = u32::try_from(grade.max(0)).with_context(bad)?;
        judgments.entry(query.to_owned()).or_default().insert(text.to_owned(), grade);
    }
    Ok(judgments)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three queries with four texts; the second query has no judgment.
    pub(in crate::bench) fn write_small_set(folder: &Path) {
        fs::create_dir_all(folder.join("qrels")).unwrap();
        let files = [
            (
                "corpus.jsonl",
                concat!(
                    "{\"_id\": \"d1\", \"title\": \"Rivers\", \"text\": \"The Seine flows through Paris.\"}\n",
                    "{\"_id\": \"d2\", \"text\": \"A cat sat on a mat.\"}\n",
                    "{\"_id\": \"d3\", \"text\": \"Paris is the capital of France.\"}\n",
                    "{\"_id\": \"d4\", \"text\": \"Bread is made of flour.\"}\n",
                ),
            ),
            (
                "queries.jsonl",
                concat!(
                    "{\"_id\": \"q1\", \"text\": \"river in Paris\"}\n",
                    "{\"_id\": \"q2\", \"text\": \"what is bread\"}\n",
                    "{\"_id\": \"q3\", \"text\": \"capital of France\"}\n",
                ),
            ),
            (
                "candidates.jsonl",
                concat!(
                    "{\"query\": \"q1\", \"candidates\": [\"d2\", \"d1\", \"d3\", \"gone\"]}\n",
                    "{\"query\": \"q2\", \"candidates\": [\"d4\", \"d1\"]}\n",
                    "{\"query\": \"q3\", \"candidates\": [\"d1\", \"d2\", \"d3\", \"d4\"]}\n",
                ),
            ),
            (
                "qrels/test.tsv",
                "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td9\t1\nq3\td3\t1\nq3\td4\t-1\n",
            ),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_set_is_read_with_its_grades() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("small");
        write_small_set(&folder);
        let set = DataSet::open(&folder).unwrap();
        assert_eq!((set.name.as_str(), set.queries.len()), ("small", 3));
        let first = &set.queries[0];
        assert_eq!(first.pool[1], "Rivers The Seine flows through Paris.");
        assert_eq!((first.pool.len(), first.grades.as_slice()), (3, &[0, 2, 0][..]));
        assert_eq!(first.judged.iter().sum::<u32>(), 3, "also what is not in the pool");
        assert_eq!(set.queries[2].grades, [0, 0, 1, 0], "junk is not relevant");
        let sampled: Vec<_> = set.sample(5).iter().map(|q| q.id.as_str()).collect();
        assert_eq!(sampled, ["q1", "q3"]);
        assert!(set.between(5).is_empty());
        let ids = |queries: Vec<&Query>| queries.iter().map(|q| q.id.clone()).collect::<Vec<_>>();
        assert_eq!(
            (ids(set.sample(1)), ids(set.between(1))),
            (vec!["q1".into()], vec!["q3".into()])
        );
        assert_eq!(first.workload("small", 2).texts.len(), 2);
        fs::remove_file(folder.join("candidates.jsonl")).unwrap();
        let error = format!("{:#}", DataSet::open(&folder).unwrap_err());
        assert!(error.contains("first stage"), "{error}");
    }
}
