//! A request that was submitted, and how its scores become an answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grating_engine::{JobOutput, LayerStats, Progress, peak_rss_bytes};
use grating_prune::Policy;
use grating_prune::online::{Decision, MonitorStatus, Signals, Status};

use crate::audit::Auditor;
use crate::distinct::DistinctMap;
use crate::error::{Error, Result};
use crate::learning::Learning;
use crate::long::{PassagesOfTexts, ScoredPassages};
use crate::monitor::ProfileMonitor;
use crate::request::Request;
use crate::scores::Scores;
use crate::selection::Selection;
use crate::stats::Stats;

/// A request that waits or is computed. Dropping it cancels the request, and nothing else that carries its token.
#[must_use = "dropping it cancels the request"]
pub struct Ticket {
    /// The engine's, of the job that the request has become.
    pub(crate) job: grating_engine::Ticket,
    pub(crate) on_progress: Option<Box<dyn FnMut(Progress) + Send>>,
    /// Nothing once there was an answer.
    pub(crate) asked: Option<Asked>,
}

/// What is known of a request when its scores come. The texts themselves are not needed any more.
pub(crate) struct Asked {
    pub(crate) k: usize,
    pub(crate) trace: bool,
    pub(crate) places: DistinctMap,
    /// Where some distinct text has several.
    pub(crate) passages: Option<PassagesOfTexts>,
    /// Of the distinct texts.
    pub(crate) truncated: Vec<bool>,
    pub(crate) query_truncated: Vec<bool>,
    pub(crate) tokens: usize,
    /// Whether there is a policy that has something to decide.
    pub(crate) pruned: bool,
    /// What would have pruned a request that is audited.
    pub(crate) audited: Option<Policy>,
    pub(crate) auditor: Arc<Auditor>,
    /// Who watches the policy.
    pub(crate) monitor: Option<Arc<ProfileMonitor>>,
    /// Who learns from the request, and what was to be done with it.
    pub(crate) learning: Option<(Arc<Learning>, Decision)>,
    pub(crate) layers: usize,
    pub(crate) temperature: f32,
    pub(crate) threads: usize,
    /// Texts to tokens.
    pub(crate) tokenize: Duration,
    /// From the call to the place in the queue.
    pub(crate) before: Duration,
}

/// Why a request was not taken into the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// As many requests wait as may; here is the request.
    #[error("the queue is full: {length} requests may wait; try again later")]
    Full {
        /// As it was given.
        request: Box<Request>,
        /// Most requests that wait.
        length: usize,
    },
    /// The request cannot be answered.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl Ticket {
    /// Waits for the answer. The request's own callback is told of progress meanwhile.
    ///
    /// # Errors
    /// Whatever ended the request; see [`Reranker::run`](crate::Reranker::run).
    pub fn wait(mut self) -> Result<Selection> {
        let mut own = self.on_progress.take();
        self.wait_with(move |progress| report(&mut own, progress))
    }

    /// As [`Self::wait`], with a callback that may borrow in the place of the request's own.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_with(self, on_progress: impl FnMut(Progress)) -> Result<Selection> {
        let Ticket { job, asked, .. } = self;
        answer(asked, job.wait(on_progress))
    }

    /// As [`Self::wait`], but no longer than `timeout`; nothing where there is no answer yet. It can be had once.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<Selection>> {
        let own = &mut self.on_progress;
        let scored = self.job.wait_timeout(timeout, |progress| report(own, progress))?;
        Some(answer(self.asked.take(), scored))
    }

    /// What its tokens take, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let bytes = |asked: &Asked| {
            5 * asked.tokens + 160 * asked.candidates() + 16 * asked.places.of.len()
        };
        self.asked.as_ref().map_or(0, bytes)
    }

    /// Tokens of all candidates, templates and the shared prefix included.
    pub fn tokens(&self) -> usize {
        self.asked.as_ref().map_or(0, |asked| asked.tokens)
    }

    /// Texts of which a part was left out.
    pub fn truncated(&self) -> usize {
        self.asked.as_ref().map_or(0, |asked| asked.places.count(&asked.truncated))
    }

    /// How far the request is; nothing while it waits.
    pub fn progress(&mut self) -> Option<Progress> {
        self.job.progress()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("job", &self.job).finish_non_exhaustive()
    }
}

fn report(callback: &mut Option<Box<dyn FnMut(Progress) + Send>>, progress: Progress) {
    if let Some(callback) = callback {
        callback(progress);
    }
}

fn answer(asked: Option<Asked>, scored: grating_engine::Result<JobOutput>) -> Result<Selection> {
    let asked = asked.ok_or(Error::WorkerGone)?;
    match scored {
        Ok(scored) => asked.selection(scored),
        Err(error) => Err(asked.in_terms_of_the_request(error.into())),
    }
}

impl Asked {
    /// What is computed: distinct texts, or their passages.
    fn candidates(&self) -> usize {
        let passages = self.passages.as_ref().map(|passages| passages.texts.passages());
        passages.unwrap_or_else(|| self.places.distinct())
    }

    /// The engine counts passages where there are such.
    fn in_terms_of_the_request(&self, error: Error) -> Error {
        let error = match (error, &self.passages) {
            (Error::NotFinite { candidate, layer, score }, Some(passages)) => {
                let candidate = passages.texts.text_of(candidate);
                Error::NotFinite { candidate, layer, score }
            }
            (error, _) => error,
        };
        self.places.in_terms_of_the_request(error)
    }

    /// The scores in the caller's terms.
    fn selection(self, mut scored: JobOutput) -> Result<Selection> {
        let began = Instant::now();
        if self.pruned {
            self.auditor.answered();
        }
        let trace = scored.trace.take().unwrap_or_default();
        let audit = match &self.audited {
            Some(policy) => Some(self.auditor.audit(policy, &trace, self.k)?),
            None => None,
        };
        let monitor = self.watched(&trace, &scored)?;
        let learning = self.learned(&trace, &scored)?;
        let computed = self.before + scored.costs.total;
        let mut stats = Stats { audit, monitor, learning, ..self.stats(&mut scored) };
        let trace = self.trace.then(|| self.places.trace(&trace));
        let attention = scored.attention.take().map(|told| self.places.each(&told));
        let (k, layers, temperature) = (self.k, self.layers, self.temperature);
        let of_passages = self.passages.zip(scored.passages.take());
        let of_passages = of_passages.map(|(of_texts, scores)| ScoredPassages { of_texts, scores });
        let scores = Scores::new(&mut scored, self.places, self.truncated, k, layers, temperature)
            .with_passages(of_passages);
        let results = scores.results();
        let JobOutput { plan, states, timeline, .. } = scored;
        // Large pools take a while: what the caller waits for is measured last.
        stats.total = computed + began.elapsed();
        Ok(Selection { results, stats, plan, trace, states, attention, timeline, scores })
    }

    /// What whoever watches the policy makes of the request.
    fn watched(&self, trace: &[Vec<f32>], scored: &JobOutput) -> Result<Option<MonitorStatus>> {
        let Some(monitor) = &self.monitor else { return Ok(None) };
        Ok(Some(match self.audited {
            Some(_) => monitor.observe(trace)?,
            None => monitor.observe_pruned(&self.signals(scored)),
        }))
    }

    /// What is known of the request's K once it has taught what it can.
    fn learned(&self, trace: &[Vec<f32>], scored: &JobOutput) -> Result<Option<Status>> {
        match &self.learning {
            Some((learning, Decision { full: true, .. })) => learning.observe(trace, self.k),
            Some((learning, Decision { policy: Some(policy), .. })) if self.pruned => {
                learning.observe_pruned(policy, &self.signals(scored), self.k)
            }
            Some((learning, _)) => Ok(learning.status(self.k)),
            None => Ok(None),
        }
    }

    /// What a pruned request shows.
    fn signals(&self, scored: &JobOutput) -> Signals {
        let looks = scored.costs.layers.iter();
        let looks = looks.filter_map(|layer| Some((layer.deferred, layer.dispersion?)));
        Signals::new(self.places.distinct(), self.layers, looks)
    }

    /// What a request cost.
    fn stats(&self, scored: &mut JobOutput) -> Stats {
        let costs = std::mem::take(&mut scored.costs);
        let read = costs.read.as_secs_f64();
        let covered = read - costs.stall.as_secs_f64();
        let mut funnel = costs.layers;
        let sum = |of: fn(&LayerStats) -> usize| funnel.iter().map(|layer| of(layer) as u64).sum();
        let (candidate_layers, token_layers) = (sum(|l| l.live), sum(|l| l.tokens));
        let tokens_left = sum(|l| l.tokens_left);
        for layer in &mut funnel {
            layer.accepted = self.places.expand(&layer.accepted);
            layer.dropped = self.places.expand(&layer.dropped);
        }
        Stats {
            candidates: self.places.of.len(),
            distinct_candidates: self.places.distinct(),
            passages: self.candidates(),
            in_passages: self.passages.as_ref().map_or(0, |of| self.places.count(&of.is_long())),
            tokens: self.tokens,
            truncated: self.places.count(&self.truncated),
            query_truncated: self.places.count(&self.query_truncated),
            tokenize: self.tokenize,
            total: Duration::ZERO,
            prefix_tokens: scored.prefix_tokens,
            layers: self.layers,
            candidate_layers,
            token_layers,
            tokens_left,
            chunks: costs.chunks,
            threads: self.threads,
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
            spill_error: scored.fallen_back.take(),
            queued: costs.queued,
            requests_in_pass: costs.jobs,
            embed: costs.embed,
            compute: costs.compute,
            funnel,
            audit: None,
            monitor: None,
            learning: None,
            operations: costs.operations,
            memory: scored.memory,
            links: std::mem::take(&mut scored.links),
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}
