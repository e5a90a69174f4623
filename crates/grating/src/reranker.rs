//! The handle that users hold: one model, one compute thread, any number of callers.

use std::sync::Arc;
use std::time::Instant;

use grating_backend::Precision;
use grating_engine::{Deadline, Engine, Job, Reservation, Savings, Waiting};
use grating_model::{Encoding, TextEncoder};
use grating_prune::Mode;
use grating_sched::{Plan, PoolShape};
use rayon::ThreadPool;

use crate::audit::{AuditTotals, Auditor};
use crate::builder::RerankerBuilder;
use crate::default_pruning::{DefaultPruning, PruningRule};
use crate::distinct::{MAX_TEXTS, distinct};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::inspect::ModelInfo;
use crate::many::Selections;
use crate::parallel;
use crate::profile::ModelStamp;
use crate::request::{Options, Pruning, Request};
use crate::selection::Selection;
use crate::texts::IndexedTexts;
use crate::ticket::{Asked, Ticket, TrySubmitError};
use crate::token_room::{TokenRoom, Who};

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
    pub(crate) default_pruning: DefaultPruning,
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) savings: Savings,
    /// Of the process, bytes.
    pub(crate) budget: Option<u64>,
}

/// Most candidates of a plan: their lengths take 8 MiB.
const MAX_PLANNED_CANDIDATES: usize = 1 << 20;
/// Most tokens of a candidate in a plan: more than any model has positions.
const MAX_PLANNED_TOKENS: usize = 1 << 26;

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
        let options = Options::new(k);
        let entrance = self.entrance(texts.len(), &options)?;
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let place = self.engine.reserve(&options.cancel, entrance.deadline)?;
        self.enter(entrance, place, query, &texts, options)?.wait()
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
        let entrance = self.entrance(request.texts.len(), &request.options)?;
        let place = self.engine.reserve(&request.options.cancel, entrance.deadline)?;
        let Request { query, texts, options } = request;
        self.enter(entrance, place, &query, texts.source(), options)
    }

    /// As [`Self::submit`], where there is a place now.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] gives the request back; nothing has been done for it.
    pub fn try_submit(&self, request: Request) -> Result<Ticket, TrySubmitError> {
        let entrance = self.entrance(request.texts.len(), &request.options)?;
        let Some(place) = self.engine.try_reserve().map_err(Error::from)? else {
            let length = self.engine.waiting().length;
            return Err(TrySubmitError::Full { request: Box::new(request), length });
        };
        let Request { query, texts, options } = request;
        Ok(self.enter(entrance, place, &query, texts.source(), options)?)
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
        let rule = self.rule(options.pruning.clone(), options.mode, options.k)?;
        let deadline = options.deadline.map(Deadline::after);
        Ok(Entrance { called: Instant::now(), deadline, rule })
    }

    /// Fills a place in the queue with a request's tokens.
    fn enter(
        &self,
        entrance: Entrance,
        place: Reservation,
        query: &str,
        texts: &(dyn IndexedTexts + Sync),
        options: Options,
    ) -> Result<Ticket> {
        let Entrance { called, deadline, rule } = entrance;
        let Options { k, instruction, cancel, on_progress, trace, states, timeline, .. } = options;
        let before = Instant::now();
        let instruction = instruction.as_deref().or(self.instruction.as_deref());
        let wanted = || match cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(deadline.map_or(Ok(()), |deadline| deadline.check())?),
        };
        let room = TokenRoom::new(&self.engine, self.budget);
        let reserve = |texts, bytes| room.reserve(texts, bytes, wanted);
        let (first, places) = distinct(texts, self.savings.equal_texts, reserve)?;
        reserve(first.len(), first.len() * size_of::<Encoding>())?;
        let threads = self.pool.current_num_threads();
        let reading = room.reading(Who::Caller, wanted);
        let read =
            self.encoder.encode_query_while(query, instruction, &|bytes| reading.goes_on(bytes));
        let query = reading.outcome(read)?.expect("a caller waits until there is room");
        let encode = |&index: &u32, who: Who| {
            wanted()?;
            let (text, reading) = (texts.text(index as usize), room.reading(who, wanted));
            let read = self.encoder.encode_while(&query, text, &|bytes| reading.goes_on(bytes));
            let Some(encoding) = reading.outcome(read)? else { return Ok(None) };
            let fits = room.take(&encoding, who, wanted)?;
            Ok::<_, Error>(fits.then_some(encoding))
        };
        let encodings = parallel::map(&self.pool, &first, encode)?;
        let mut job = Job::new(encodings, k);
        let tokenize = before.elapsed();
        let (policy, readouts) = rule.map(|rule| (rule.policy, rule.readouts)).unzip();
        // Where all are selected there is nothing to audit, and who wants the trace gets no pruning anyhow.
        let pruned = policy.is_some() && k < first.len() && !trace;
        let audited = policy.clone().filter(|_| pruned && self.auditor.is_due());
        (job.cancel, job.deadline) = (cancel, deadline);
        (job.policy, job.readouts) = (policy, readouts.flatten());
        (job.trace, job.states, job.timeline) = (trace || audited.is_some(), states, timeline);
        let asked = Asked {
            k,
            trace,
            places,
            truncated: job.encodings.iter().map(|e| e.truncated).collect(),
            query_truncated: job.encodings.iter().map(|e| e.query_truncated).collect(),
            tokens: job.encodings.iter().map(|e| e.ids.len()).sum(),
            pruned,
            audited,
            auditor: Arc::clone(&self.auditor),
            layers: self.info.layers,
            temperature: self.info.temperature,
            threads,
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
        let mut rule = match pruning {
            Some(Pruning::Off) => None,
            Some(Pruning::By(policy)) => Some(PruningRule::of(policy)),
            None => self.default_pruning.rule(k)?,
        };
        if let (Some(rule), Some(mode)) = (&mut rule, mode) {
            rule.policy.mode = mode;
        }
        Ok(rule)
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
