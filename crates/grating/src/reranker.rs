//! The handle that users hold: one model, one compute thread, any number of callers.

use std::sync::Arc;
use std::time::Instant;

use grating_backend::Precision;
use grating_engine::{Deadline, Engine, Reservation, Savings, Waiting};
use grating_model::{Encoding, TextEncoder, TokenCompression};
use grating_prune::online::{Decision, MonitorStatus, Status};
use grating_prune::{MassTrace, Mode, TokenOutcome, TokenPolicy, replay_tokens};
use grating_sched::Plan;
use rayon::ThreadPool;

use crate::audit::{AuditTotals, Auditor};
use crate::builder::RerankerBuilder;
use crate::default_pruning::{DefaultPruning, PruningRule};
use crate::distinct::{MAX_TEXTS, distinct};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::inspect::ModelInfo;
use crate::learning::Learning;
use crate::long::Long;
use crate::many::Selections;
use crate::planning::Planning;
use crate::profile::ModelStamp;
use crate::reading::{Beside, Read, Reading};
use crate::request::{Options, Pruning, Query, Request};
use crate::selection::Selection;
use crate::texts::IndexedTexts;
use crate::ticket::{Asked, Ticket, TrySubmitError};
use crate::token_room::TokenRoom;

/// A cross-encoder reranker. `Send + Sync`: share it by reference or in an `Arc`; requests queue.
#[derive(Debug)]
pub struct Reranker {
    pub(crate) engine: Engine,
    pub(crate) encoder: TextEncoder,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) info: ModelInfo,
    /// How passages are compressed on their way.
    pub(crate) compression: Option<TokenCompression>,
    pub(crate) instruction: Option<String>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) precision: Precision,
    /// What that comes to on this machine, see [`ModelStamp::products`].
    pub(crate) products: String,
    pub(crate) default_pruning: DefaultPruning,
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) savings: Savings,
    /// What becomes of long texts where a request does not say; nothing where the builder did not, either.
    pub(crate) long: Option<Long>,
    /// Of the process, bytes.
    pub(crate) budget: Option<u64>,
}

/// A request that may enter the queue: what is checked before its texts are tokenized.
struct Entrance {
    /// When the caller called.
    called: Instant,
    deadline: Option<Deadline>,
    rule: Option<PruningRule>,
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
            compression: self.compression.as_ref().map(TokenCompression::to_string),
            instruction: self.instruction.clone(),
        })
    }

    /// What becomes of long texts where a request does not say.
    pub fn long(&self) -> &Long {
        static USUAL: Long = Long::Truncate;
        self.long.as_ref().unwrap_or(&USUAL)
    }

    /// What becomes of those of a request, which computes everything where it says so and nothing of long texts. The rule that
    /// it is pruned by may have a token policy, for where nobody says anything of them.
    fn long_of(&self, options: &Options, rule: Option<&PruningRule>) -> Long {
        let certified = rule.and_then(|rule| rule.tokens.as_ref()).filter(|_| !options.trace);
        match (&options.long, &self.long, &options.pruning) {
            (Some(long), _, _) => long.clone(),
            (None, Some(Long::Prune(_)), Some(Pruning::Off)) => Long::Truncate,
            (None, None, _) => {
                certified.map_or(Long::Truncate, |policy| Long::Prune(policy.clone()))
            }
            (None, Some(own), _) => own.clone(),
        }
    }

    /// How audited requests have agreed with the full model so far.
    pub fn audits(&self) -> AuditTotals {
        self.auditor.totals()
    }

    /// How the profiles that prune are doing on the requests so far, the caller's own or those that came with the model; nothing
    /// elsewhere. One that seems to break its promise, or whose requests look different from those before, is put out of
    /// use until it is proved on those that come.
    pub fn monitored(&self) -> Vec<MonitorStatus> {
        self.default_pruning.monitors().map(|monitor| monitor.status()).collect()
    }

    /// What was learned for each K, where pruning is learned from the requests
    /// ([`Pruning::Auto`]); nothing elsewhere.
    pub fn learned(&self) -> Option<Vec<Status>> {
        match &self.default_pruning {
            DefaultPruning::Learned(learning) => Some(learning.all()),
            _ => None,
        }
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
        let options = Options::new(k);
        let entrance = self.entrance(texts.len(), &options)?;
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let place = self.engine.reserve(&options.cancel, entrance.deadline)?;
        self.enter(entrance, place, Beside::One(query), &texts, options)?.wait()
    }

    /// Answers a request with options, as [`submit`](Self::submit) and [`Ticket::wait`] do.
    ///
    /// # Errors
    /// As [`Self::rerank`], [`Error::Cancelled`] and [`Error::DeadlineExceeded`].
    pub fn run(&self, request: Request) -> Result<Selection> {
        self.submit(request)?.wait()
    }

    /// Puts a request in the queue and returns. Waits for a place where the queue is full, and tokenizes the texts, which
    /// are let go then.
    ///
    /// # Errors
    /// What is wrong with the request, or what ended it before it was in the queue.
    pub fn submit(&self, request: Request) -> Result<Ticket> {
        let entrance = self.entrance_of(&request)?;
        let place = self.engine.reserve(&request.options.cancel, entrance.deadline)?;
        let Request { query, texts, options } = request;
        self.enter(entrance, place, query.beside(), texts.source(), options)
    }

    /// As [`Self::submit`], where there is a place now.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] gives the request back; nothing has been done for it.
    pub fn try_submit(&self, request: Request) -> Result<Ticket, TrySubmitError> {
        let entrance = self.entrance_of(&request)?;
        let Some(place) = self.engine.try_reserve().map_err(Error::from)? else {
            let length = self.engine.waiting().length;
            return Err(TrySubmitError::Full { request: Box::new(request), length });
        };
        let Request { query, texts, options } = request;
        Ok(self.enter(entrance, place, query.beside(), texts.source(), options)?)
    }

    /// Answers several requests, in their order; an error of one is its own answer and leaves the others.
    ///
    /// Requests are drawn from `requests` as the queue has room, so that no more pools are tokenized than may wait, and
    /// none is drawn before the first answer is asked for. A deadline counts from when its request is submitted.
    ///
    /// ```
    /// # #[cfg(feature = "default-model")] {
    /// use grating::{Request, Reranker, Texts};
    ///
    /// let reranker = Reranker::builder().build()?;
    /// let pool: Texts = vec!["Paris is a city.", "The cat sat on the mat."].into();
    /// let requests = ["Which town?", "Which animal?"].map(|query| Request::new(query, pool.clone(), 1));
    /// for selection in reranker.rerank_many(requests) {
    ///     println!("{}", selection?.results[0].index);
    /// }
    /// # }
    /// # Ok::<(), grating::Error>(())
    /// ```
    pub fn rerank_many<I>(&self, requests: I) -> Selections<'_, I::IntoIter>
    where
        I: IntoIterator<Item = Request>,
    {
        Selections::new(self, requests.into_iter())
    }

    fn entrance_of(&self, request: &Request) -> Result<Entrance> {
        let texts = request.texts.len();
        match &request.query {
            Query::Each(queries) if queries.len() != texts => Err(Error::Setting {
                setting: "the number of queries",
                expected: format!("{texts}, one for each text"),
                found: queries.len().to_string(),
            }),
            _ => self.entrance(texts, &request.options),
        }
    }

    /// Checks what costs nothing to check.
    fn entrance(&self, texts: usize, options: &Options) -> Result<Entrance> {
        match (options.k, texts) {
            (0, _) => return Err(Error::ZeroK),
            (_, 0) => return Err(Error::NoTexts),
            (_, 1..=MAX_TEXTS) => {}
            _ => {
                let (expected, found) = (format!("at most {MAX_TEXTS}"), texts.to_string());
                return Err(Error::Setting { setting: "the number of texts", expected, found });
            }
        }
        if options.limits.max_text_tokens == Some(0) {
            let (setting, expected) = ("the most tokens of a text", "at least 1".into());
            return Err(Error::Setting { setting, expected, found: "0".into() });
        }
        let in_passages = matches!(self.long_of(options, None), Long::Passages(_));
        if in_passages && options.attention.is_some() {
            return Err(Error::Setting {
                setting: "what becomes of long texts whose attention is recorded",
                expected: "that they are truncated".into(),
                found: "passages".into(),
            });
        }
        let rule = self.rule(options.pruning.clone(), options.mode, options.k)?;
        let deadline = options.deadline.map(Deadline::after);
        Ok(Entrance { called: Instant::now(), deadline, rule })
    }

    /// Fills a place in the queue with a request's tokens.
    fn enter(
        &self,
        entrance: Entrance,
        place: Reservation,
        query: Beside<'_>,
        texts: &(dyn IndexedTexts + Sync),
        options: Options,
    ) -> Result<Ticket> {
        let Entrance { called, deadline, mut rule } = entrance;
        let long = self.long_of(&options, rule.as_ref());
        let learning = self.learned_rule(texts.len(), &options, &mut rule);
        let Options { k, instruction, limits, cancel, on_progress, trace, .. } = options;
        let before = Instant::now();
        let instruction = instruction.as_deref().or(self.instruction.as_deref());
        let wanted = || match cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(deadline.map_or(Ok(()), |deadline| deadline.check())?),
        };
        let room = TokenRoom::new(&self.engine, self.budget);
        let reserve = |texts, bytes| room.reserve(texts, bytes, wanted);
        let equal = self.savings.equal_texts && matches!(query, Beside::One(_));
        let (first, places) = distinct(texts, equal, reserve)?;
        reserve(first.len(), first.len() * size_of::<Encoding>())?;
        let with = Reading { query, instruction, limits, long };
        let read = self.read(&with, texts, &first, &room, &wanted, k)?;
        let Read { mut job, passages, truncated, query_truncated, tokens } = read;
        let tokenize = before.elapsed();
        let (policy, readouts, monitor) = rule
            .map_or((None, None, None), |rule| (Some(rule.policy), rule.readouts, rule.monitor));
        // Where all are selected there is nothing to audit, and who wants the trace gets no pruning anyhow.
        let pruned = policy.is_some() && k < first.len() && !trace;
        let monitor = monitor.filter(|_| pruned);
        let doubted = monitor.as_ref().is_some_and(|monitor| !monitor.in_use());
        let full = doubted || learning.as_ref().is_some_and(|(_, decision)| decision.full);
        // What is said of the full model is said where all tokens are computed.
        let exact = !job.tokens_may_leave();
        if options.attention.is_some() {
            (job.tokens, job.attention) = (options.attention, true);
        }
        let audited = policy.clone().filter(|_| pruned && exact && (full || self.auditor.is_due()));
        (job.cancel, job.deadline) = (cancel, deadline);
        (job.policy, job.readouts) = (policy, readouts);
        job.trace = trace || full || audited.is_some();
        (job.states, job.timeline) = (options.states, options.timeline);
        let asked = Asked {
            k,
            trace,
            places,
            passages,
            truncated,
            query_truncated,
            tokens,
            pruned,
            audited,
            auditor: Arc::clone(&self.auditor),
            monitor: monitor.filter(|_| exact),
            learning,
            layers: self.info.layers,
            temperature: self.info.temperature,
            threads: self.pool.current_num_threads(),
            tokenize,
            before: called.elapsed(),
        };
        Ok(Ticket { job: place.submit(job), on_progress, asked: Some(asked) })
    }

    /// What a request for `k` texts prunes by, and what becomes of accepted ones; none computes everything.
    fn rule(
        &self,
        pruning: Option<Pruning>,
        mode: Option<Mode>,
        k: usize,
    ) -> Result<Option<PruningRule>> {
        let rule = match pruning {
            Some(Pruning::Off) => None,
            Some(Pruning::Auto(_)) => {
                return Err(Error::Setting {
                    setting: "the pruning of a request",
                    expected: "a policy or none; what is learned is a setting of the builder"
                        .into(),
                    found: "auto".into(),
                });
            }
            Some(Pruning::By(policy)) => Some(PruningRule::of(policy)),
            None => self.default_pruning.rule(k)?,
        };
        Ok(rule.map(|rule| rule.in_mode(mode)))
    }

    /// Who learns from a request and what it decides; the rule becomes that.
    fn learned_rule(
        &self,
        texts: usize,
        options: &Options,
        rule: &mut Option<PruningRule>,
    ) -> Option<(Arc<Learning>, Decision)> {
        let learning = self.learning(texts, options)?;
        let decision = learning.decide(options.k);
        let policy = decision.policy.clone();
        *rule = policy.map(|policy| PruningRule::of(policy).in_mode(options.mode));
        Some((learning, decision))
    }

    /// Who learns from a request: where it does not say how it prunes, and there is a choice.
    fn learning(&self, texts: usize, options: &Options) -> Option<Arc<Learning>> {
        match &self.default_pruning {
            DefaultPruning::Learned(learning) => {
                let tokens = self.long_of(options, None).tokens().is_some();
                let its_own = options.pruning.is_some() || options.trace || tokens;
                (!its_own && options.k < texts).then(|| Arc::clone(learning))
            }
            _ => None,
        }
    }

    /// What a token policy would have done with a text of which [`Request::attention`] has recorded a policy with stages
    /// at the same depths and the same signals: exact for its first stage, an estimate after it
    /// ([`TokenOutcome::exact_stages`]).
    ///
    /// # Errors
    /// The policy's own, and that the stages are others.
    pub fn replay_tokens(&self, policy: &TokenPolicy, trace: &MassTrace) -> Result<TokenOutcome> {
        Ok(replay_tokens(policy, &self.engine.stages(policy), self.info.layers, trace)?)
    }

    /// How a pool of `candidates` texts of `tokens` tokens each (template, query and text) would be run now. Where passages
    /// are compressed, all but the template counts as passage.
    ///
    /// # Errors
    /// [`Error::Plan`], for instance when the memory budget is too small, with the minimum; [`Error::Setting`] for
    /// more than 1,048,576 candidates, or longer ones than any model takes.
    pub fn plan(&self, candidates: usize, tokens: usize) -> Result<Plan> {
        Ok(self.engine.plan(self.planning().whole(candidates, tokens)?)?)
    }

    fn planning(&self) -> Planning<'_> {
        let limit = self.info.max_length;
        Planning { encoder: &self.encoder, compression: self.compression.as_ref(), limit }
    }

    /// As [`Self::plan`], with long texts read in a way of their own. Passages count query and template once for all of a
    /// text; where tokens leave, the query's count as the text's.
    ///
    /// # Errors
    /// As [`Self::plan`], the token policy's own, and [`Error::Prune`] where no tokens may leave this model's texts.
    pub fn plan_long(&self, candidates: usize, tokens: usize, long: &Long) -> Result<Plan> {
        let leaving = |pool, policy: &TokenPolicy| Ok(self.engine.leaving(pool, policy)?);
        let pool = self.planning().long((candidates, tokens), long, leaving)?;
        Ok(self.engine.plan(pool)?)
    }
}

impl Query {
    fn beside(&self) -> Beside<'_> {
        match self {
            Query::One(query) => Beside::One(query),
            Query::Each(queries) => Beside::Each(queries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reranker_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Reranker>();
    }
}
