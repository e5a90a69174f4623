//! The handle that users hold: one model, one compute thread, any number of callers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grating_engine::{Engine, Job, Savings, Scored, Waiting, peak_rss_bytes};
use grating_model::{Encoding, Logit, Precision, TextEncoder};
use grating_prune::Mode;
use grating_sched::{Plan, PoolShape};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::audit::{AuditTotals, Auditor};
use crate::builder::RerankerBuilder;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::inspect::ModelInfo;
use crate::profile::ModelStamp;
use crate::request::{Pruning, Request};
use crate::selection::{Ranked, Selection};
use crate::standing::{Rule, Standing};
use crate::stats::Stats;

/// A cross-encoder reranker. `Send + Sync`: share it by reference or in an `Arc`; requests queue.
#[derive(Debug)]
pub struct Reranker {
    pub(crate) engine: Engine,
    pub(crate) encoder: TextEncoder,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) info: ModelInfo,
    pub(crate) instruction: Option<String>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) precision: Precision,
    /// What that comes to on this machine, see [`ModelStamp::products`].
    pub(crate) products: String,
    pub(crate) standing: Standing,
    pub(crate) auditor: Auditor,
    pub(crate) savings: Savings,
}

/// Most candidates of a plan: their lengths take 8 MiB.
const MAX_PLANNED_CANDIDATES: usize = 1 << 20;
/// Most tokens of a candidate in a plan: more than any model has positions.
const MAX_PLANNED_TOKENS: usize = 1 << 26;

/// Texts without their repetitions.
struct Distinct<'a> {
    texts: Vec<&'a str>,
    /// For each text of the request, its place in `texts`.
    of: Vec<usize>,
    /// The texts of the request by their place in `texts`, those of a place in the order given.
    texts_of: Vec<usize>,
    /// Where in `texts_of` those of each place begin, and the end of the last.
    starts: Vec<usize>,
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

    /// The model and the settings that its scores depend on, as profiles and traces carry them. Reads 8 KiB of each
    /// tensor on the first call.
    ///
    /// # Errors
    /// When the weights cannot be read.
    pub fn stamp(&self) -> Result<ModelStamp> {
        Ok(ModelStamp {
            name: self.info.name.clone(),
            hash: self.fingerprint.hash()?,
            layers: self.info.layers,
            precision: self.precision.name().into(),
            products: Some(self.products.clone()),
            max_length: self.info.max_length,
            instruction: self.instruction.clone(),
        })
    }

    /// How audited requests have agreed with the full model so far.
    pub fn audits(&self) -> AuditTotals {
        self.auditor.totals()
    }

    /// Who waits in the queue, and how many wait for a place in it.
    pub fn waiting(&self) -> Waiting {
        self.engine.waiting()
    }

    /// Selects the `k` texts most relevant to `query`, best first; all of them where there are fewer than `k`.
    ///
    /// Blocks until done. Texts may be empty, of any language and any length; past the model's maximum length they
    /// are cut, and so is the query, as the reference does, which the result says.
    ///
    /// # Errors
    /// [`Error::ZeroK`], [`Error::NoTexts`], a query that is too long where the builder refuses such, or a failure of
    /// the model.
    pub fn rerank<T: AsRef<str>>(&self, query: &str, texts: &[T], k: usize) -> Result<Selection> {
        self.run(Request::new(query, texts, k))
    }

    /// Answers a request with options.
    ///
    /// # Errors
    /// As [`Self::rerank`], and [`Error::Cancelled`].
    pub fn run(&self, request: Request<'_>) -> Result<Selection> {
        let started = Instant::now();
        let Request {
            query,
            texts,
            k,
            instruction,
            cancel,
            mut on_progress,
            pruning,
            mode,
            trace,
            states,
            timeline,
        } = request;
        validate(&texts, k)?;
        let distinct = match self.savings.equal_texts {
            true => Distinct::new(&texts),
            false => Distinct::all(&texts),
        };
        let instruction = instruction.or(self.instruction.as_deref());
        let encodings = self.encode(query, instruction, &distinct.texts)?;
        let tokenize = started.elapsed();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let tokens = encodings.iter().map(|e| e.ids.len()).sum();
        let truncated: Vec<bool> = encodings.iter().map(|e| e.truncated).collect();
        let query_truncated: Vec<bool> = encodings.iter().map(|e| e.query_truncated).collect();
        let rule = self.rule(pruning, mode, k)?;
        let (policy, readouts) = rule.map(|rule| (rule.policy, rule.readouts)).unzip();
        // Where all are selected there is nothing to audit, and who wants the trace gets no pruning anyhow.
        let audited =
            policy.clone().filter(|_| k < distinct.texts.len() && !trace && self.auditor.is_due());
        let mut job = Job::new(encodings, k);
        (job.policy, job.readouts) = (policy, readouts.flatten());
        (job.trace, job.states) = (trace || audited.is_some(), states);
        (job.timeline, job.cancel) = (timeline, cancel);
        let report = |progress| {
            if let Some(callback) = &mut on_progress {
                callback(progress);
            }
        };
        let scored = self.engine.select(job, report);
        let mut scored =
            scored.map_err(|error| distinct.in_terms_of_the_request(Error::from(error)))?;
        let results = results(&scored, &distinct, &truncated, k);
        let count = |cut: &[bool]| distinct.of.iter().filter(|&&d| cut[d]).count();
        let (truncated, query_truncated) = (count(&truncated), count(&query_truncated));
        let all_scores = scored.trace.take().unwrap_or_default();
        let audit =
            audited.map(|policy| self.auditor.audit(&policy, &all_scores, k)).transpose()?;
        let (states, plan) = (scored.states.take(), scored.plan.clone());
        let timeline = std::mem::take(&mut scored.timeline);
        let trace = trace.then(|| distinct.trace(&all_scores));
        let mut stats = Stats {
            candidates: texts.len(),
            distinct_candidates: distinct.texts.len(),
            tokens,
            truncated,
            query_truncated,
            tokenize,
            audit,
            ..self.stats(scored, &distinct)
        };
        // Large pools take a while to be forgotten, too: what the caller waits for is measured last.
        drop((distinct, texts));
        stats.total = started.elapsed();
        Ok(Selection { results, stats, plan, trace, states, timeline })
    }

    /// What a request for `k` texts prunes by, and what becomes of accepted ones; none computes everything.
    fn rule(&self, pruning: Option<Pruning>, mode: Option<Mode>, k: usize) -> Result<Option<Rule>> {
        let mut rule = match pruning {
            Some(Pruning::Off) => None,
            Some(Pruning::By(policy)) => Some(Rule::of(policy)),
            None => self.standing.rule(k)?,
        };
        if let (Some(rule), Some(mode)) = (&mut rule, mode) {
            rule.policy.mode = mode;
        }
        Ok(rule)
    }

    /// What the engine knows of a request's cost.
    fn stats(&self, scored: Scored, distinct: &Distinct<'_>) -> Stats {
        let Scored { costs, memory, prefix_tokens, fallen_back, .. } = scored;
        let read = costs.read.as_secs_f64();
        let covered = read - costs.stall.as_secs_f64();
        let mut funnel = costs.layers;
        let candidate_layers = funnel.iter().map(|l| l.live as u64).sum();
        for layer in &mut funnel {
            layer.accepted = distinct.expand(&layer.accepted);
            layer.dropped = distinct.expand(&layer.dropped);
        }
        Stats {
            candidates: 0,
            distinct_candidates: 0,
            tokens: 0,
            truncated: 0,
            query_truncated: 0,
            tokenize: Duration::ZERO,
            total: Duration::ZERO,
            prefix_tokens,
            layers: self.info.layers,
            candidate_layers,
            chunks: costs.chunks,
            threads: self.pool.current_num_threads(),
            weight_bytes_read: costs.weight_bytes_read,
            direct_io: costs.direct,
            read: costs.read,
            stall: costs.stall,
            overlap: if read > 0.0 { (covered / read).clamp(0.0, 1.0) } else { 1.0 },
            row_cache_hits: costs.row_hits,
            row_cache_misses: costs.row_misses,
            row_bytes_read: costs.row_bytes_read,
            spill_bytes_written: costs.spill_bytes_written,
            spill_bytes_read: costs.spill_bytes_read,
            spill_wait: costs.spill_wait,
            spill_error: fallen_back,
            queued: costs.queued,
            embed: costs.embed,
            compute: costs.compute,
            funnel,
            audit: None,
            operations: costs.operations,
            memory,
            peak_rss_bytes: peak_rss_bytes(),
        }
    }

    /// How a pool of `candidates` texts of `tokens` tokens each (template, query and text) would be run now.
    ///
    /// # Errors
    /// [`Error::Plan`], for instance when the memory budget is too small, with the minimum; [`Error::Setting`] for
    /// more than 1,048,576 candidates, or longer ones than any model takes.
    pub fn plan(&self, candidates: usize, tokens: usize) -> Result<Plan> {
        // A plan lists the candidates' lengths, so their number must be bounded before.
        for (setting, found, most) in [
            ("the number of candidates", candidates, MAX_PLANNED_CANDIDATES),
            ("the number of tokens of a candidate", tokens, MAX_PLANNED_TOKENS),
        ] {
            if !(1..=most).contains(&found) {
                let (expected, found) = (format!("1 to {most}"), found.to_string());
                return Err(Error::Setting { setting, expected, found });
            }
        }
        Ok(self.engine.plan(PoolShape::uniform(candidates, tokens))?)
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
        Self::with_places(distinct, of)
    }

    /// Every text is taken for different.
    fn all(texts: &[&'a str]) -> Self {
        Self::with_places(texts.to_vec(), (0..texts.len()).collect())
    }

    /// Counting sort of the request's indices by place.
    fn with_places(texts: Vec<&'a str>, of: Vec<usize>) -> Self {
        let mut starts = vec![0; texts.len() + 1];
        of.iter().for_each(|&place| starts[place + 1] += 1);
        (0..texts.len()).for_each(|place| starts[place + 1] += starts[place]);
        let mut next = starts.clone();
        let mut texts_of = vec![0; of.len()];
        for (index, &place) in of.iter().enumerate() {
            texts_of[next[place]] = index;
            next[place] += 1;
        }
        Distinct { texts, of, texts_of, starts }
    }

    /// The request's indices of distinct texts, in the order given; equal texts follow each other. Takes as many steps
    /// as there are indices in the answer and in `distinct`, however large the request is.
    fn expand(&self, distinct: &[usize]) -> Vec<usize> {
        let indices = |&d: &usize| &self.texts_of[self.starts[d]..self.starts[d + 1]];
        distinct.iter().flat_map(indices).copied().collect()
    }

    /// Scores of every text, `[layer][text]`.
    fn trace(&self, trace: &[Vec<f32>]) -> Vec<Vec<f32>> {
        trace.iter().map(|scores| self.of.iter().map(|&d| scores[d]).collect()).collect()
    }

    /// The engine counts distinct candidates, the caller their own.
    fn in_terms_of_the_request(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { candidate, layer, score } => {
                let first = self.expand(&[candidate]).first().copied();
                Error::NotFinite { candidate: first.unwrap_or(candidate), layer, score }
            }
            other => other,
        }
    }
}

fn validate(texts: &[&str], k: usize) -> Result<()> {
    match k {
        0 => Err(Error::ZeroK),
        _ if texts.is_empty() => Err(Error::NoTexts),
        _ => Ok(()),
    }
}

/// The `k` selected texts of the request, the best first where that is known.
fn results(scored: &Scored, distinct: &Distinct<'_>, truncated: &[bool], k: usize) -> Vec<Ranked> {
    let order = match &scored.selected {
        Some(selected) => distinct.expand(selected),
        None => rank(&distinct.of, &scored.logits),
    };
    let ranked = |index: usize| {
        let of = distinct.of[index];
        let raw_score = scored.logits[of];
        Ranked {
            index,
            score: raw_score.probability(),
            raw_score,
            decided_after_layer: scored.decided[of],
            truncated: truncated[of],
        }
    };
    order.into_iter().take(k).map(ranked).collect()
}

/// All texts by falling logit and then by index.
fn rank(of: &[usize], logits: &[Logit]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by(|&a, &b| logits[of[b]].0.total_cmp(&logits[of[a]].0).then(a.cmp(&b)));
    order
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
    fn distinct_texts_become_those_of_the_request_in_order() {
        let distinct = Distinct::new(&["b", "a", "b", "", "a"]);
        assert_eq!(distinct.expand(&[2, 0, 1]), [3, 0, 2, 1, 4]);
        assert_eq!(distinct.expand(&[]), [0; 0]);
        assert_eq!(Distinct::all(&["b", "a", "b"]).expand(&[1, 2]), [1, 2]);
        assert_eq!(Distinct::new(&[]).expand(&[]), [0; 0]);
    }

    #[test]
    fn ties_go_by_index_and_negative_zero_is_no_surprise() {
        let logits = [Logit(1.0), Logit(-2.0), Logit(0.0)];
        assert_eq!(rank(&[2, 0, 1, 0], &logits), [1, 3, 0, 2]);
    }

    #[test]
    fn a_reranker_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Reranker>();
    }
}
