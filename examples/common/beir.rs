//! Data sets in BEIR layout: corpus.jsonl, queries.jsonl, qrels/test.tsv, and candidates.jsonl where
//! pools are given.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Texts and judged questions.
#[derive(Debug)]
pub struct DataSet {
    /// Ids of the texts, in the order of the corpus.
    pub ids: Vec<String>,
    /// The texts, title first.
    pub texts: Vec<String>,
    /// Questions with at least one relevant text in the corpus.
    pub questions: Vec<Question>,
}

/// A question with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its id.
    pub id: String,
    /// The question.
    pub text: String,
    /// Numbers of the relevant texts.
    pub relevant: HashSet<usize>,
    /// Numbers of the texts in its pool, in the first stage's order; empty where there is no pool.
    pub pool: Vec<usize>,
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
struct Pool {
    query: String,
    candidates: Vec<String>,
}

impl DataSet {
    /// Reads the folder.
    ///
    /// # Errors
    /// A file that is missing or not in the layout.
    pub fn open(folder: &Path) -> Result<Self> {
        let corpus: Vec<Line> = lines(&folder.join("corpus.jsonl"))?;
        let numbers: HashMap<&str, usize> =
            corpus.iter().map(|line| line.id.as_str()).zip(0..).collect();
        let relevant = judgments(&folder.join("qrels/test.tsv"), &numbers)?;
        let pools = match folder.join("candidates.jsonl") {
            path if path.exists() => lines::<Pool>(&path)?,
            _ => Vec::new(),
        };
        let pools: HashMap<String, Vec<usize>> = pools
            .into_iter()
            .map(|pool| {
                let known = pool.candidates.iter().filter_map(|id| numbers.get(id.as_str()));
                (pool.query, known.copied().collect())
            })
            .collect();
        let questions: Vec<Line> = lines(&folder.join("queries.jsonl"))?;
        let questions = questions.into_iter().filter_map(|line| {
            let relevant = relevant.get(&line.id)?.clone();
            let pool = pools.get(&line.id).cloned().unwrap_or_default();
            Some(Question { id: line.id, text: line.text, relevant, pool })
        });
        let questions = questions.collect();
        let text = |line: &Line| format!("{} {}", line.title, line.text).trim().to_owned();
        let texts = corpus.iter().map(text).collect();
        Ok(Self { ids: corpus.into_iter().map(|line| line.id).collect(), texts, questions })
    }

    /// `count` questions spread evenly over the set.
    pub fn sample(&self, count: usize) -> Vec<&Question> {
        let all = self.questions.len();
        let count = count.min(all);
        (0..count).map(|i| &self.questions[i * all / count]).collect()
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), i + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Numbers of the relevant texts by question.
fn judgments(
    path: &Path,
    numbers: &HashMap<&str, usize>,
) -> Result<HashMap<String, HashSet<usize>>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut relevant: HashMap<String, HashSet<usize>> = HashMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[query, id, grade] = fields.as_slice() else { continue };
        let positive = grade.trim().parse::<i64>().is_ok_and(|grade| grade > 0);
        if let (true, Some(&number)) = (positive, numbers.get(id)) {
            relevant.entry(query.to_owned()).or_default().insert(number);
        }
    }
    Ok(relevant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_carry_their_relevant_texts_and_pools() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        let files = [
            (
                "corpus.jsonl",
                "{\"_id\":\"a\",\"title\":\"T\",\"text\":\"x\"}\n{\"_id\":\"b\",\"text\":\"y\"}\n",
            ),
            ("queries.jsonl", "{\"_id\":\"1\",\"text\":\"q\"}\n{\"_id\":\"2\",\"text\":\"r\"}\n"),
            ("candidates.jsonl", "{\"query\":\"1\",\"candidates\":[\"b\",\"gone\",\"a\"]}\n"),
            ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\tb\t2\n1\ta\t0\n2\tgone\t1\n"),
        ];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let set = DataSet::open(folder.path()).unwrap();
        assert_eq!(set.texts, ["T x", "y"]);
        assert_eq!(set.questions.len(), 1, "the second has no relevant text here");
        let question = set.sample(5)[0];
        assert_eq!((question.pool.as_slice(), question.relevant.len()), (&[1, 0][..], 1));
        assert!(question.relevant.contains(&1));
    }
}
