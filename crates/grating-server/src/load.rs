//! How much a model has before it, and how long that takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grating::Stats;

/// Of what was measured before, what counts when a request is done.
const KEPT: f64 = 0.8;
/// Nobody is told to come back later than after this many seconds.
const LONGEST: f64 = 600.0;

/// Tokens of the requests that wait or are computed, and the time that one takes.
#[derive(Debug)]
pub(crate) struct Load {
    tokens: AtomicU64,
    /// Bits of an f64, seconds.
    per_token: AtomicU64,
}

/// A request's tokens; they count until this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    load: &'a Load,
    tokens: u64,
}

impl Load {
    /// With a prediction for what is not measured yet.
    pub(crate) fn new(seconds_per_token: f64) -> Self {
        let per_token = AtomicU64::new(seconds_per_token.to_bits());
        Load { tokens: AtomicU64::new(0), per_token }
    }

    pub(crate) fn add(&self, tokens: usize) -> Ahead<'_> {
        let tokens = tokens as u64;
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        Ahead { load: self, tokens }
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Learns from a request that is done.
    pub(crate) fn observe(&self, stats: &Stats) {
        let pass = (stats.tokens * stats.requests_in_pass.max(1)) as f64;
        let took = stats.total.saturating_sub(stats.queued).as_secs_f64();
        if pass > 0.0 {
            self.learn(took / pass);
        }
    }

    fn learn(&self, seconds: f64) {
        // Two that come at once: one of them counts.
        let before = f64::from_bits(self.per_token.load(Ordering::Relaxed));
        let now = KEPT * before + (1.0 - KEPT) * seconds;
        self.per_token.store(now.to_bits(), Ordering::Relaxed);
    }

    /// How long all of them take.
    pub(crate) fn predicted(&self) -> Duration {
        let per_token = f64::from_bits(self.per_token.load(Ordering::Relaxed));
        let seconds = per_token * self.tokens() as f64;
        Duration::from_secs_f64(if seconds.is_finite() { seconds.clamp(0.0, LONGEST) } else { 1.0 })
    }

    /// Whole seconds after which there is room again.
    pub(crate) fn retry_after(&self) -> u64 {
        (self.predicted().as_secs_f64().ceil() as u64).max(1)
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.load.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ahead_takes_as_long_as_was_measured() {
        let load = Load::new(0.01);
        assert_eq!(load.retry_after(), 1);
        let (a, b) = (load.add(500), load.add(250));
        assert_eq!((load.tokens(), load.retry_after()), (750, 8));
        load.learn(0.06);
        assert_eq!(load.retry_after(), 15);
        drop(a);
        assert_eq!(load.retry_after(), 5);
        drop(b);
        assert_eq!((load.tokens(), load.predicted()), (0, Duration::ZERO));
        load.learn(f64::INFINITY);
        let _a = load.add(1);
        assert_eq!(load.retry_after(), 1);
    }
}
