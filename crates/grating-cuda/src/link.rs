//! What passes over the link to the device, timed by events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grating_backend::Copies;

use crate::driver::{Driver, Event, Stream};
use crate::error::Result;

/// Spans that are not read yet, at most, before they are looked at.
const UNREAD: usize = 64;

/// Times of copies, and of waiting for them.
#[derive(Debug)]
pub(crate) struct Link<D: Driver> {
    driver: Arc<D>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counted: Copies,
    unread: Vec<Span>,
    /// Events that may be recorded anew.
    free: Vec<Event>,
}

/// A time between two places in a queue.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Event,
    end: Event,
    waits: bool,
}

impl<D: Driver> Link<D> {
    pub(crate) fn new(driver: &Arc<D>) -> Self {
        Link { driver: Arc::clone(driver), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts of times: a panic elsewhere loses one at most.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `work`, a copy of so many bytes, with an event before and after it.
    pub(crate) fn copying(
        &self,
        stream: Stream,
        bytes: usize,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.between(stream, false, work)?;
        self.state().counted.bytes += bytes as u64;
        Ok(())
    }

    /// Queues `work`, a wait for copies, with an event before and after it.
    pub(crate) fn waiting(&self, stream: Stream, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.between(stream, true, work)
    }

    fn between(
        &self,
        stream: Stream,
        waits: bool,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let start = self.event()?;
        self.driver.record(start, stream)?;
        work()?;
        let end = self.event()?;
        self.driver.record(end, stream)?;
        let mut state = self.state();
        state.unread.push(Span { start, end, waits });
        if state.unread.len() > UNREAD {
            self.read(&mut state);
        }
        Ok(())
    }

    fn event(&self) -> Result<Event> {
        let free = self.state().free.pop();
        free.map_or_else(|| self.driver.event(), Ok)
    }

    /// Adds up the spans that have ended; the others stay.
    fn read(&self, state: &mut State) {
        let State { counted, unread, free } = state;
        unread.retain(|span| match self.driver.elapsed(span.start, span.end) {
            Err(_) => true,
            Ok(time) => {
                *(if span.waits { &mut counted.waited } else { &mut counted.time }) += time;
                free.extend([span.start, span.end]);
                false
            }
        });
    }

    /// What was counted since it was [reset](Self::reset) last.
    pub(crate) fn counted(&self) -> Copies {
        let mut state = self.state();
        self.read(&mut state);
        state.counted
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self) {
        self.state().counted = Copies::new(0, Duration::ZERO, Duration::ZERO);
    }
}
