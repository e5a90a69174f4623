//! What an example says of its time and of what it found.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A question with the texts that were reranked; as a line of JSON what `grating calibrate` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The question.
    pub query: String,
    /// The texts in the first stage's order.
    pub texts: Vec<String>,
}

/// Figures of one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// From the question to the selected texts.
    pub total_ms: f64,
    /// The reranker's part of it.
    pub rerank_ms: f64,
    /// Share of the relevant texts among those that are handed on.
    pub found: Option<f64>,
    /// The same without the reranker.
    pub found_by_first_stage: Option<f64>,
    /// What was reranked; nothing where the first stage found nothing.
    #[serde(skip)]
    pub pool: Option<Pool>,
}

/// Figures of several questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// One a question.
    pub queries: Vec<Asked>,
}

/// Share of `relevant` among `selected`; nothing where nothing is relevant.
pub fn found(selected: &[usize], relevant: &HashSet<usize>) -> Option<f64> {
    let hits = selected.iter().collect::<HashSet<_>>();
    let hits = hits.into_iter().filter(|number| relevant.contains(number)).count();
    (!relevant.is_empty()).then(|| hits as f64 / relevant.len() as f64)
}

impl Asked {
    /// A question that was asked at `start`, `rerank` of which went to the reranker.
    pub fn since(start: Instant, rerank: Duration) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            total_ms: ms(start.elapsed()),
            rerank_ms: ms(rerank),
            found: None,
            found_by_first_stage: None,
            pool: None,
        }
    }

    /// The same with what was reranked.
    #[must_use]
    pub fn with_pool<T: AsRef<str>>(self, query: &str, texts: &[T]) -> Self {
        let texts = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        Self { pool: Some(Pool { query: query.to_owned(), texts }), ..self }
    }

    /// The same with what was found.
    #[must_use]
    pub fn with_found(self, reranked: Option<f64>, first_stage: Option<f64>) -> Self {
        Self { found: reranked, found_by_first_stage: first_stage, ..self }
    }

    /// The reranker's share of the time, for people.
    pub fn shown(&self) -> String {
        format!(
            "{:.0} ms, {:.1} % of it the reranker",
            self.total_ms,
            100.0 * self.rerank_ms / self.total_ms
        )
    }
}

impl Report {
    /// Prints the report, one JSON object or means for people, and writes the pools where there is a file for them.
    ///
    /// # Errors
    /// Standard output or the file cannot be written.
    pub fn print(&self, json: bool, pools: Option<&Path>) -> Result<()> {
        if let Some(file) = pools {
            let pools = self.queries.iter().filter_map(|asked| asked.pool.as_ref());
            let lines: Vec<String> = pools.map(serde_json::to_string).collect::<Result<_, _>>()?;
            fs::write(file, lines.join("\n") + "\n")
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        if json {
            serde_json::to_writer(std::io::stdout().lock(), self)?;
            println!();
            return Ok(());
        }
        let mean = |of: &dyn Fn(&Asked) -> Option<f64>| {
            let values: Vec<f64> = self.queries.iter().filter_map(of).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let (total, rerank) = (mean(&|a| Some(a.total_ms)), mean(&|a| Some(a.rerank_ms)));
        println!("questions                   {}", self.queries.len());
        println!("end to end                  {total:.0} ms");
        println!("of it the reranker          {:.1} %", 100.0 * rerank / total);
        println!("found without reranker      {:.3}", mean(&|a| a.found_by_first_stage));
        println!("found with it               {:.3}", mean(&|a| a.found));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_is_a_share_of_what_is_relevant() {
        let relevant = HashSet::from([1, 5]);
        assert_eq!(found(&[5, 2, 5], &relevant), Some(0.5));
        assert_eq!(found(&[], &relevant), Some(0.0));
        assert_eq!(found(&[1], &HashSet::new()), None);
    }
}
