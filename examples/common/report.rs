//! What an example says of its time and of what it found.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

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
        }
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
    /// Prints the report: one JSON object, or means for people.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, json: bool) -> Result<()> {
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
