//! A block on its way into a slot.

use std::sync::Arc;
use std::time::Instant;

use super::{Job, Memory, Phase, Plan, Ready};

pub(super) struct Filling<M: Memory> {
    pub(super) id: u64,
    slot: usize,
    lent: M::Lent,
    /// Parts that no reader has taken yet, last request first.
    parts: Vec<M::Part>,
    in_flight: usize,
    started: Instant,
}

impl<M: Memory> Filling<M> {
    /// A block without bytes is ready at once.
    pub(super) fn start(id: u64, slot: usize, memory: M, plan: &Arc<Plan>) -> Phase<M> {
        let ranges = plan.requests.iter().map(|request| request.slot.clone());
        let (lent, mut parts) = memory.lend(ranges);
        parts.reverse();
        let filling = Filling { id, slot, lent, parts, in_flight: 0, started: Instant::now() };
        if filling.is_complete() {
            return filling.finish(Arc::clone(plan));
        }
        Phase::Filling(filling)
    }

    /// Whether there are requests that no reader has taken.
    pub(super) fn has_job(&self) -> bool {
        !self.parts.is_empty()
    }

    pub(super) fn next_job(&mut self, plan: &Arc<Plan>) -> Option<Job<M::Part>> {
        let part = self.parts.pop()?;
        if self.in_flight == 0 && self.parts.len() + 1 == plan.requests.len() {
            self.started = Instant::now();
        }
        self.in_flight += 1;
        let request = plan.requests.len() - 1 - self.parts.len();
        Some(Job { plan: Arc::clone(plan), request, part, filling: self.id })
    }

    /// A request is over. Whether it was the last one in flight.
    pub(super) fn returned(&mut self) -> bool {
        self.in_flight -= 1;
        self.in_flight == 0
    }

    /// Whether all requests have been made and are over.
    pub(super) fn is_complete(&self) -> bool {
        self.parts.is_empty() && self.in_flight == 0
    }

    pub(super) fn finish(self, plan: Arc<Plan>) -> Phase<M> {
        let Filling { slot, lent, started, .. } = self;
        Phase::Ready(Ready { plan, memory: M::reclaim(lent), slot, read: started..Instant::now() })
    }

    /// Makes no more requests: slot and memory, or what must drain first.
    pub(super) fn abandon(mut self) -> Result<(usize, M), Self> {
        self.parts.clear();
        if self.in_flight > 0 {
            return Err(self);
        }
        Ok((self.slot, M::reclaim(self.lent)))
    }
}
