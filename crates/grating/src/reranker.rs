//! The handle that users hold: one model, one compute thread, any number of callers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use grating_model::{Encoding, Logit, TextEncoder};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::builder::RerankerBuilder;
use crate::engine::{Engine, Scored};
use crate::error::{Error, Result};
use crate::inspect::ModelInfo;
use crate::request::Request;
use crate::selection::{Ranked, Selection};
use crate::stats::{Stats, peak_rss_bytes};

/// A cross-encoder reranker. `Send + Sync`: share it by reference or in an `Arc`; requests queue.
#[derive(Debug)]
pub struct Reranker {
    pub(crate) engine: Engine,
    pub(crate) encoder: TextEncoder,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) info: ModelInfo,
    pub(crate) instruction: Option<String>,
}

/// Texts without their repetitions.
struct Distinct<'a> {
    texts: Vec<&'a str>,
    /// For each text of the request, its place in `texts`.
    of: Vec<usize>,
}

impl Reranker {
    /// Settings to start from.
    pub fn builder() -> RerankerBuilder {
        RerankerBuilder::default()
    }

    /// The model's family, shapes and sizes.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Selects the `k` texts most relevant to `query`, best first; all of them where there are fewer than `k`.
    ///
    /// Blocks until done. Texts may be empty, of any language and any length; past the model's maximum length they
    /// are cut, which the result says.
    ///
    /// # Errors
    /// [`Error::ZeroK`], [`Error::NoTexts`], a query that is too long, or a failure of the model.
    pub fn rerank<T: AsRef<str>>(&self, query: &str, texts: &[T], k: usize) -> Result<Selection> {
        self.run(Request::new(query, texts, k))
    }

    /// Answers a request with options.
    ///
    /// # Errors
    /// As [`Self::rerank`], and [`Error::Cancelled`].
    pub fn run(&self, request: Request<'_>) -> Result<Selection> {
        let started = Instant::now();
        let Request { query, texts, k, instruction, cancel, mut on_progress } = request;
        if k == 0 {
            return Err(Error::ZeroK);
        }
        if texts.is_empty() {
            return Err(Error::NoTexts);
        }
        let distinct = Distinct::new(&texts);
        let instruction = instruction.or(self.instruction.as_deref());
        let encodings = self.encode(query, instruction, &distinct.texts)?;
        let tokenize = started.elapsed();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let tokens = encodings.iter().map(|e| e.ids.len()).sum();
        let truncated: Vec<bool> = encodings.iter().map(|e| e.truncated).collect();
        let scored = self
            .engine
            .score(encodings, &cancel, |progress| {
                if let Some(callback) = &mut on_progress {
                    callback(progress);
                }
            })
            .map_err(|error| distinct.in_terms_of_the_request(error))?;
        let Scored { logits, after_layer, chunks, bytes_read, read, compute } = scored;
        let results = rank(&distinct.of, &logits, &truncated, after_layer, k);
        let stats = Stats {
            candidates: texts.len(),
            distinct_candidates: distinct.texts.len(),
            tokens,
            truncated: distinct.of.iter().filter(|&&d| truncated[d]).count(),
            layers: self.info.layers,
            chunks,
            threads: self.pool.current_num_threads(),
            bytes_read,
            tokenize,
            read,
            compute,
            total: started.elapsed(),
            peak_rss_bytes: peak_rss_bytes(),
        };
        Ok(Selection { results, stats })
    }

    fn encode(
        &self,
        query: &str,
        instruction: Option<&str>,
        texts: &[&str],
    ) -> Result<Vec<Encoding>> {
        let query = self.encoder.encode_query(query, instruction)?;
        let encode = |text: &&str| self.encoder.encode(&query, text).map_err(Error::from);
        self.pool.install(|| texts.par_iter().map(encode).collect())
    }
}

impl<'a> Distinct<'a> {
    fn new(texts: &[&'a str]) -> Self {
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
        let mut distinct = Vec::with_capacity(texts.len());
        let of = texts
            .iter()
            .map(|&text| match seen.entry(text) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    distinct.push(text);
                    *entry.insert(distinct.len() - 1)
                }
            })
            .collect();
        Distinct { texts: distinct, of }
    }

    /// The engine counts distinct candidates, the caller their own.
    fn in_terms_of_the_request(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { candidate, layer, score } => {
                let first = self.of.iter().position(|&d| d == candidate);
                Error::NotFinite { candidate: first.unwrap_or(candidate), layer, score }
            }
            other => other,
        }
    }
}

/// The `k` best, by falling logit and then by index.
fn rank(
    of: &[usize],
    logits: &[Logit],
    truncated: &[bool],
    after_layer: usize,
    k: usize,
) -> Vec<Ranked> {
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by(|&a, &b| logits[of[b]].0.total_cmp(&logits[of[a]].0).then(a.cmp(&b)));
    order.truncate(k);
    let ranked = |index: usize| {
        let raw_score = logits[of[index]];
        Ranked {
            index,
            score: raw_score.probability(),
            raw_score,
            decided_after_layer: after_layer,
            truncated: truncated[of[index]],
        }
    };
    order.into_iter().map(ranked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_place_and_order_is_kept() {
        let distinct = Distinct::new(&["b", "a", "b", "", "a"]);
        assert_eq!(distinct.texts, ["b", "a", ""]);
        assert_eq!(distinct.of, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn ties_go_by_index_and_negative_zero_is_no_surprise() {
        let logits = [Logit(1.0), Logit(-2.0), Logit(0.0)];
        let ranked = rank(&[2, 0, 1, 0], &logits, &[false, true, false], 5, 3);
        assert_eq!(ranked.iter().map(|r| r.index).collect::<Vec<_>>(), [1, 3, 0]);
        assert!(ranked.iter().all(|r| r.decided_after_layer == 5 && !r.truncated));
    }

    #[test]
    fn a_reranker_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Reranker>();
    }
}
