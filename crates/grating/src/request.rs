//! One call: the query, the texts, how many, and the options.

use std::fmt;
use std::time::Duration;

use grating_engine::{CancelToken, Progress};
use grating_model::TokenLimits;
use grating_prune::{Mode, Policy, Target, TokenPolicy};

use crate::long::Long;
use crate::texts::Texts;

/// A query, its candidate texts and the options of the call. It owns what it holds, so that it can be sent to another
/// thread and wait in a queue.
pub struct Request {
    pub(crate) query: Query,
    pub(crate) texts: Texts,
    pub(crate) options: Options,
}

/// What the texts are scored beside.
pub(crate) enum Query {
    /// All beside the same.
    One(String),
    /// Each beside its own.
    Each(Vec<String>),
}

/// What is asked of a query and its texts.
pub(crate) struct Options {
    pub(crate) k: usize,
    pub(crate) instruction: Option<String>,
    pub(crate) limits: TokenLimits,
    pub(crate) long: Option<Long>,
    pub(crate) cancel: CancelToken,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_progress: Option<Box<dyn FnMut(Progress) + Send>>,
    pub(crate) pruning: Option<Pruning>,
    pub(crate) mode: Option<Mode>,
    pub(crate) trace: bool,
    pub(crate) states: bool,
    pub(crate) attention: Option<TokenPolicy>,
    pub(crate) timeline: bool,
}

/// Whether candidates whose place is settled stop computing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Pruning {
    /// Every candidate goes through every layer.
    Off,
    /// By this policy.
    By(Policy),
    /// By what is learned from the reranker's own requests ([`grating_prune::online`]): everything is computed until a
    /// policy is proved to keep this promise on them, and a share of the requests is audited from then on. A setting of
    /// [`RerankerBuilder::pruning`](crate::RerankerBuilder::pruning) alone.
    Auto(Target),
}

impl Request {
    /// Asks for the `k` best of `texts`: a `Vec` or an `Arc` of anything that is text, or a borrowed slice, whose texts are
    /// copied once.
    pub fn new(query: impl Into<String>, texts: impl Into<Texts>, k: usize) -> Self {
        let query = Query::One(query.into());
        Request { query, texts: texts.into(), options: Options::new(k) }
    }

    /// Asks for the score of each of `texts` beside the query of the same place, by the full model: all pairs go through
    /// it together, whatever their queries are. Every text is selected, so that
    /// [`Selection::all_scores`](crate::Selection::all_scores) has the scores in the order of the pairs. Pairs of one
    /// query are sooner as a request of their own, which shares what they begin with.
    ///
    /// ```
    /// # #[cfg(feature = "default-model")] {
    /// use grating::{Request, Reranker};
    ///
    /// let (queries, texts) = (vec!["Which town?".into(), "Which animal?".into()], vec!["Paris", "A cat"]);
    /// let scores = Reranker::builder().build()?.run(Request::pairs(queries, texts))?.all_scores();
    /// assert_eq!(scores.len(), 2);
    /// # }
    /// # Ok::<(), grating::Error>(())
    /// ```
    pub fn pairs(queries: Vec<String>, texts: impl Into<Texts>) -> Self {
        let texts = texts.into();
        let options = Options { pruning: Some(Pruning::Off), ..Options::new(texts.len().max(1)) };
        Request { query: Query::Each(queries), texts, options }
    }

    /// What the query is for; replaces the model's default instruction. Models whose template has no instruction
    /// ignore it.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.options.instruction = Some(instruction.into());
        self
    }

    /// Most tokens of a candidate, template and query included, where that is less than the reranker's own limit
    /// ([`RerankerBuilder::max_length`](crate::RerankerBuilder::max_length)). Longer texts are cut at their end.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.options.limits = self.options.limits.max_tokens(Some(tokens));
        self
    }

    /// Most tokens of a text by itself, without query and template. Longer ones are cut at their end.
    pub fn max_text_tokens(mut self, tokens: usize) -> Self {
        self.options.limits = self.options.limits.max_text_tokens(Some(tokens));
        self
    }

    /// What becomes of texts that are longer than the limits; replaces the reranker's own setting. With
    /// [`Long::Passages`] the limit of [`Self::max_text_tokens`] counts for the text as a whole, before it is cut.
    pub fn long(mut self, long: Long) -> Self {
        self.options.long = Some(long);
        self
    }

    /// Lets `token` stop the request: while it waits at once, while it is computed at the next chunk of a layer.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.options.cancel = token.clone();
        self
    }

    /// Ends the request with [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded) where it is not answered within
    /// `allowed` from when it is submitted: while it waits at once, while it is computed at the next chunk of a layer.
    pub fn deadline(mut self, allowed: Duration) -> Self {
        self.options.deadline = Some(allowed);
        self
    }

    /// Calls back as work gets done, on the thread that waits for the answer while it does.
    /// [`Ticket::wait_with`](crate::Ticket::wait_with) takes one that borrows.
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + Send + 'static) -> Self {
        self.options.on_progress = Some(Box::new(callback));
        self
    }

    /// How to prune; replaces the reranker's own setting.
    pub fn pruning(mut self, pruning: Pruning) -> Self {
        self.options.pruning = Some(pruning);
        self
    }

    /// What becomes of accepted candidates; replaces the policy's own mode. In [`Mode::Rank`] the results carry the
    /// full model's scores and order, in [`Mode::Select`] only membership in the top-K is promised.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = Some(mode);
        self
    }

    /// Records every candidate's score after every layer ([`Selection::trace`](crate::Selection::trace)), as the
    /// profile in use reads them. Nothing is pruned then.
    pub fn trace(mut self, trace: bool) -> Self {
        self.options.trace = trace;
        self
    }

    /// With the trace, records the hidden states that its scores are read from.
    pub(crate) fn states(mut self, states: bool) -> Self {
        self.options.states = states;
        self
    }

    /// Records what attention tells a token policy of each long text after each of its stages
    /// ([`Selection::attention`](crate::Selection::attention)). Everything is computed then, and no tokens leave.
    pub fn attention(mut self, policy: TokenPolicy) -> Self {
        self.options.pruning = Some(Pruning::Off);
        self.options.attention = Some(policy);
        self
    }

    /// Records what runs when ([`Selection::timeline`](crate::Selection::timeline)).
    pub fn timeline(mut self, timeline: bool) -> Self {
        self.options.timeline = timeline;
        self
    }
}

impl Options {
    /// The `k` best, and nothing else.
    pub(crate) fn new(k: usize) -> Self {
        Options {
            k,
            instruction: None,
            limits: TokenLimits::default(),
            long: None,
            cancel: CancelToken::new(),
            deadline: None,
            on_progress: None,
            pruning: None,
            mode: None,
            trace: false,
            states: false,
            attention: None,
            timeline: false,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { k, instruction, limits, long, deadline, pruning, mode, .. } = &self.options;
        let mut request = f.debug_struct("Request");
        match &self.query {
            Query::One(query) => request.field("query", query),
            Query::Each(queries) => {
                request.field("query", &format_args!("{} queries", queries.len()))
            }
        };
        request
            .field("texts", &self.texts)
            .field("k", k)
            .field("instruction", instruction)
            .field("limits", limits)
            .field("long", long)
            .field("deadline", deadline)
            .field("pruning", pruning)
            .field("mode", mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_can_be_sent_to_another_thread() {
        fn sent<T: Send + 'static>() {}
        sent::<Request>();
        sent::<crate::Ticket>();
    }
}
