//! A block on its way into a slot.

use std::sync::Arc;
use std::time::Instant;

use super::{Phase, Placement, ReadTask, Ready, SlotMemory};

pub(super) struct Filling<M: SlotMemory> {
    pub(super) id: u64,
    slot: usize,
    lent: M::Lent,
    /// Parts that no reader has taken yet, last request first.
    portions: Vec<M::Portion>,
    in_flight: usize,
    started: Instant,
}

impl<M: SlotMemory> Filling<M> {
    /// A block without bytes is ready at once.
    pub(super) fn start(id: u64, slot: usize, memory: M, placement: &Arc<Placement>) -> Phase<M> {
        let ranges = placement.requests.iter().map(|request| request.slot.clone());
        let (lent, mut portions) = memory.lend(ranges);
        portions.reverse();
        let filling = Filling { id, slot, lent, portions, in_flight: 0, started: Instant::now() };
        if filling.is_complete() {
            return filling.finish(Arc::clone(placement));
        }
        Phase::Filling(filling)
    }

    /// Whether there are requests that no reader has taken.
    pub(super) fn has_job(&self) -> bool {
        !self.portions.is_empty()
    }

    pub(super) fn next_task(&mut self, placement: &Arc<Placement>) -> Option<ReadTask<M::Portion>> {
        let portion = self.portions.pop()?;
        if self.in_flight == 0 && self.portions.len() + 1 == placement.requests.len() {
            self.started = Instant::now();
        }
        self.in_flight += 1;
        let request = placement.requests.len() - 1 - self.portions.len();
        Some(ReadTask { placement: Arc::clone(placement), request, portion, filling: self.id })
    }

    /// Whether requests of this block are being read.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// A request is over. Whether it was the last one in flight.
    pub(super) fn returned(&mut self) -> bool {
        self.in_flight -= 1;
        self.in_flight == 0
    }

    /// Whether all requests have been made and are over.
    pub(super) fn is_complete(&self) -> bool {
        self.portions.is_empty() && self.in_flight == 0
    }

    pub(super) fn finish(self, placement: Arc<Placement>) -> Phase<M> {
        let Filling { slot, lent, started, .. } = self;
        Phase::Ready(Ready {
            placement,
            memory: M::reclaim(lent),
            slot,
            read: started..Instant::now(),
        })
    }

    /// Makes no more requests: slot and memory, or what must drain first.
    pub(super) fn abandon(mut self) -> Result<(usize, M), Self> {
        self.portions.clear();
        if self.in_flight > 0 {
            return Err(self);
        }
        Ok((self.slot, M::reclaim(self.lent)))
    }
}
