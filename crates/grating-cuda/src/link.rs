//! What passes over the link to the device, timed by events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grating_backend::{Copies, CopySpan};

use crate::driver::{Driver, Event, Stream};
use crate::error::Result;

/// Spans that are not read yet, at most, before they are looked at.
const UNREAD: usize = 64;
/// Copies whose times are kept at most.
const KEPT: usize = 4096;

/// Times of copies, and of waiting for them.
#[derive(Debug)]
pub(crate) struct Link<D: Driver> {
    driver: Arc<D>,
    /// The stream of the copies.
    copies: Stream,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counted: Copies,
    /// What times on the device are counted from, and when that was.
    origin: Option<(Event, Instant)>,
    spans: Vec<CopySpan>,
    unread: Vec<Span>,
    /// Events that may be recorded anew.
    free: Vec<Event>,
}

/// A time between two places in a queue.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Event,
    end: Event,
    /// Bytes that were copied; none where copies were waited for.
    copied: Option<u64>,
}

impl<D: Driver> Link<D> {
    pub(crate) fn new(driver: &Arc<D>, copies: Stream) -> Self {
        let link = Link { driver: Arc::clone(driver), copies, state: Mutex::default() };
        link.reset();
        link
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
        self.between(stream, Some(bytes as u64), work)?;
        self.state().counted.bytes += bytes as u64;
        Ok(())
    }

    /// Queues `work`, a wait for copies, with an event before and after it.
    pub(crate) fn waiting(&self, stream: Stream, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.between(stream, None, work)
    }

    fn between(
        &self,
        stream: Stream,
        copied: Option<u64>,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let start = self.event()?;
        self.driver.record(start, stream)?;
        work()?;
        let end = self.event()?;
        self.driver.record(end, stream)?;
        let mut state = self.state();
        state.unread.push(Span { start, end, copied });
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
        let State { counted, unread, free, origin, spans } = state;
        unread.retain(|span| {
            let Ok(time) = self.driver.elapsed(span.start, span.end) else { return true };
            match span.copied {
                None => counted.waited += time,
                Some(bytes) => {
                    counted.time += time;
                    let start = origin.and_then(|(event, at)| {
                        Some(at + self.driver.elapsed(event, span.start).ok()?)
                    });
                    if let Some(start) = start.filter(|_| spans.len() < KEPT) {
                        spans.push(CopySpan::new(bytes, start..start + time));
                    }
                }
            }
            free.extend([span.start, span.end]);
            false
        });
    }

    /// What was counted since it was [reset](Self::reset) last.
    pub(crate) fn counted(&self) -> Copies {
        let mut state = self.state();
        self.read(&mut state);
        state.counted
    }

    /// When what was counted was copied.
    pub(crate) fn spans(&self) -> Vec<CopySpan> {
        self.state().spans.clone()
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.counted = Copies::new(0, Duration::ZERO, Duration::ZERO);
        state.spans.clear();
        // Without an origin nobody is told when, only how long.
        let event = state.origin.take().map_or_else(|| self.driver.event(), |(event, _)| Ok(event));
        state.origin = event.ok().and_then(|event| {
            self.driver.record(event, self.copies).ok()?;
            self.driver.synchronize(event).ok()?;
            Some((event, Instant::now()))
        });
    }
}
