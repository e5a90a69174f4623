//! One call: the query, the texts, how many, and the options.

use grating_engine::{CancelToken, Progress};
use grating_prune::{Mode, Policy};

/// A query, its candidate texts and the options of the call.
pub struct Request<'a> {
    pub(crate) query: &'a str,
    pub(crate) texts: Vec<&'a str>,
    pub(crate) k: usize,
    pub(crate) instruction: Option<&'a str>,
    pub(crate) cancel: CancelToken,
    pub(crate) on_progress: Option<Box<dyn FnMut(Progress) + 'a>>,
    pub(crate) pruning: Option<Pruning>,
    pub(crate) mode: Option<Mode>,
    pub(crate) trace: bool,
    pub(crate) states: bool,
    pub(crate) timeline: bool,
}

/// Whether candidates whose place is settled stop computing.
#[derive(Debug, Clone, PartialEq)]
pub enum Pruning {
    /// Every candidate goes through every layer.
    Off,
    /// By this policy.
    By(Policy),
}

impl<'a> Request<'a> {
    /// Asks for the `k` best of `texts`.
    pub fn new<T: AsRef<str>>(query: &'a str, texts: &'a [T], k: usize) -> Self {
        Request {
            query,
            texts: texts.iter().map(AsRef::as_ref).collect(),
            k,
            instruction: None,
            cancel: CancelToken::new(),
            on_progress: None,
            pruning: None,
            mode: None,
            trace: false,
            states: false,
            timeline: false,
        }
    }

    /// What the query is for; replaces the model's default instruction. Models whose template has no instruction
    /// ignore it.
    pub fn instruction(mut self, instruction: &'a str) -> Self {
        self.instruction = Some(instruction);
        self
    }

    /// Lets `token` stop the request.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = token.clone();
        self
    }

    /// Calls back, on the calling thread, as work gets done.
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + 'a) -> Self {
        self.on_progress = Some(Box::new(callback));
        self
    }

    /// How to prune; replaces the reranker's own setting.
    pub fn pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// What becomes of accepted candidates; replaces the policy's own mode. In [`Mode::Rank`] the results carry the
    /// full model's scores and order, in [`Mode::Select`] only membership in the top-K is promised.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Records every candidate's score after every layer ([`Selection::trace`](crate::Selection::trace)), as the
    /// profile in use reads them. Nothing is pruned then.
    pub fn trace(mut self, trace: bool) -> Self {
        self.trace = trace;
        self
    }

    /// With the trace, records the hidden states that its scores are read from.
    pub(crate) fn states(mut self, states: bool) -> Self {
        self.states = states;
        self
    }

    /// Records what runs when ([`Selection::timeline`](crate::Selection::timeline)).
    pub fn timeline(mut self, timeline: bool) -> Self {
        self.timeline = timeline;
        self
    }
}
