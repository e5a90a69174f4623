//! Several requests at once: as many in the queue as it holds, their answers in order.

use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};

use crate::error::Result;
use crate::request::Request;
use crate::reranker::Reranker;
use crate::selection::Selection;
use crate::ticket::{Ticket, TrySubmitError};

/// Most bytes of tokens of requests that are ahead, within a memory budget. What is planned for the one that runs does
/// not count those behind it.
const AHEAD: usize = 1 << 20;

/// The answers to several requests, in their order; made by [`Reranker::rerank_many`]. Requests whose answer has not
/// been had are cancelled when this is dropped.
#[must_use = "requests are submitted as their answers are asked for"]
pub struct Selections<'r, I: Iterator<Item = Request>> {
    reranker: &'r Reranker,
    requests: Fuse<I>,
    /// One that found the queue full.
    held: Option<Request>,
    /// Those before it, answered or not.
    ahead: VecDeque<Result<Ticket>>,
    /// Most of `ahead`: what waits in a full queue, and one that is computed.
    most: usize,
}

impl<'r, I: Iterator<Item = Request>> Selections<'r, I> {
    pub(crate) fn new(reranker: &'r Reranker, requests: I) -> Self {
        let most = reranker.waiting().length + 1;
        let requests = requests.fuse();
        Selections { reranker, requests, held: None, ahead: VecDeque::new(), most }
    }

    /// Submits as many as there is room for; waits for a place only where no answer is owed.
    fn submit(&mut self) {
        while self.ahead.len() < self.most && (self.ahead.is_empty() || self.is_small()) {
            let Some(request) = self.held.take().or_else(|| self.requests.next()) else { return };
            let pending = match self.ahead.is_empty() {
                true => self.reranker.submit(request),
                false => match self.reranker.try_submit(request) {
                    Ok(pending) => Ok(pending),
                    Err(TrySubmitError::Refused(error)) => Err(error),
                    Err(TrySubmitError::Full { request, .. }) => {
                        self.held = Some(*request);
                        return;
                    }
                },
            };
            self.ahead.push_back(pending);
        }
    }
}

impl<'r, I: Iterator<Item = Request>> Selections<'r, I> {
    /// Whether the tokens of those ahead take so little that they need not be planned for.
    fn is_small(&self) -> bool {
        let tokens = self.ahead.iter().flatten().map(Ticket::memory_bytes);
        self.reranker.budget.is_none() || tokens.sum::<usize>() <= AHEAD
    }
}

impl<I: Iterator<Item = Request>> Iterator for Selections<'_, I> {
    type Item = Result<Selection>;

    fn next(&mut self) -> Option<Self::Item> {
        self.submit();
        Some(self.ahead.pop_front()?.and_then(Ticket::wait))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let here = self.ahead.len() + usize::from(self.held.is_some());
        let (least, most) = self.requests.size_hint();
        (least.saturating_add(here), most.and_then(|most| most.checked_add(here)))
    }
}

impl<I: Iterator<Item = Request>> FusedIterator for Selections<'_, I> {}

impl<I: Iterator<Item = Request>> fmt::Debug for Selections<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selections").field("ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}
