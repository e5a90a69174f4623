//! What is asked of the engine, and what comes of it.

use std::sync::Arc;

use grating_model::{Encoding, Logit};
use grating_prune::{MassTrace, Policy, TokenPolicy};
use grating_sched::Plan;

use crate::cancel::{CancelToken, Deadline, Stop};
use crate::meter::Costs;
use crate::passages::TextPassages;
use crate::readouts::Readouts;
use crate::stats::{LinkStats, MemoryStats};
use crate::timeline::Timeline;
use crate::tokens::text_of;

/// One pool of candidates to select from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Job {
    /// Tokens of each candidate, template and query included.
    pub encodings: Vec<Encoding>,
    /// How many to select.
    pub k: usize,
    /// Where candidates are passages of texts, which ones: it is texts that are selected.
    pub(crate) passages: Option<Arc<TextPassages>>,
    /// How to prune; `None` computes everything.
    pub policy: Option<Policy>,
    /// Which tokens leave long candidates on their way; `None` computes all of them. Not for models that score the mean of
    /// all tokens.
    pub tokens: Option<TokenPolicy>,
    /// Whether what attention tells these is only recorded ([`JobOutput::attention`]); then no tokens leave. Who is dropped before
    /// the last stage has no more than until then.
    pub attention: bool,
    /// How scores after intermediate layers are read; `None` is the model's own head.
    pub readouts: Option<Readouts>,
    /// Whether scores after every layer are wanted. Then nothing is pruned.
    pub trace: bool,
    /// Whether the hidden states that they are read from are wanted, too.
    pub states: bool,
    /// Whether to record what runs when.
    pub timeline: bool,
    /// Ends the job early.
    pub cancel: CancelToken,
    /// Ends the job when it passes.
    pub deadline: Option<Deadline>,
    /// Cancelled when nobody waits for the answer any more.
    pub(crate) abandoned: CancelToken,
}

impl Job {
    /// Selects `k` of the candidates, computing everything.
    pub fn new(encodings: Vec<Encoding>, k: usize) -> Self {
        Job {
            encodings,
            k,
            passages: None,
            policy: None,
            tokens: None,
            attention: false,
            readouts: None,
            trace: false,
            states: false,
            timeline: false,
            cancel: CancelToken::new(),
            deadline: None,
            abandoned: CancelToken::new(),
        }
    }

    /// Selects `k` texts, whose passages the candidates are, one after another: the passages' scores make the text's after
    /// every layer, policies decide on texts, and the passages of a text leave together.
    ///
    /// # Panics
    /// Where there are not as many candidates as passages.
    pub fn of_passages(encodings: Vec<Encoding>, passages: Arc<TextPassages>, k: usize) -> Self {
        assert_eq!(encodings.len(), passages.passages(), "each candidate is a passage");
        Job { passages: Some(passages), ..Job::new(encodings, k) }
    }

    /// How many it selects from: candidates, or the texts whose passages they are.
    pub(crate) fn texts(&self) -> usize {
        self.passages.as_ref().map_or(self.encodings.len(), |passages| passages.texts())
    }

    /// Whether some candidate is long enough for tokens to leave it.
    pub fn tokens_may_leave(&self) -> bool {
        let Some(policy) = &self.tokens else { return false };
        self.encodings.iter().any(|encoding| text_of(policy, encoding).is_some())
    }

    /// What may end it early.
    pub(crate) fn stop(&self) -> Stop {
        let Job { cancel, abandoned, deadline, .. } = self;
        Stop { cancel: cancel.clone(), abandoned: abandoned.clone(), deadline: *deadline }
    }
}

/// What came of a pool, and what it cost. Candidates are numbered as the job's encodings; of a job
/// [of passages](Job::of_passages) all but the passages' own scores and states is said of the texts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobOutput {
    /// The pruner's choice; `None` where everybody has run to the end.
    pub selected: Option<Vec<usize>>,
    /// The layer after which each candidate was decided.
    pub decided: Vec<usize>,
    /// The latest score of each candidate.
    pub logits: Vec<Logit>,
    /// The layer that each of those was read after: the one that decided, or the last one for selected candidates in
    /// [`Mode::Rank`](grating_prune::Mode::Rank).
    pub read_after: Vec<usize>,
    /// Scores after every layer, `[layer][candidate]`, if they were wanted.
    pub trace: Option<Vec<Vec<f32>>>,
    /// The latest score of each passage, where the candidates are such.
    pub passages: Option<Vec<Logit>>,
    /// Normalised hidden states of the scored tokens, `[layer][candidate * hidden]`, if they were wanted; not those
    /// after the last layer.
    pub states: Option<Vec<Vec<f32>>>,
    /// What attention tells the job's token policy of each candidate after each of its stages, if that was wanted; nothing of
    /// candidates that are too short for it.
    pub attention: Option<Vec<Option<MassTrace>>>,
    /// Tokens that all candidates begin with and that were computed once.
    pub prefix_tokens: usize,
    /// Why hidden states stayed in memory that should have gone to the disk.
    pub fallen_back: Option<String>,
    /// Times and bytes.
    pub costs: Costs,
    /// Memory by use.
    pub memory: MemoryStats,
    /// What passed over each link.
    pub links: Vec<LinkStats>,
    /// How the job was run.
    pub plan: Plan,
    /// What ran when; empty unless it was wanted.
    pub timeline: Timeline,
}
