//! How far a job is, and whether anybody still wants it.

use crate::cancel::Stop;
use crate::error::Result;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Candidate-layers done.
    pub done: u64,
    /// Candidate-layers of the request.
    pub total: u64,
    /// The layer at work, counted from 0.
    pub layer: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Different texts, or passages of such, that the layer computes.
    pub live: usize,
    /// Different texts that were accepted after earlier layers.
    pub accepted: usize,
    /// Different texts that were dropped after earlier layers.
    pub dropped: usize,
}

/// Counts a job's candidate-layers and reports them to whoever waits.
pub(crate) struct Reporter<'a> {
    stop: Stop,
    report: &'a (dyn Fn(Progress) + Sync),
    latest: Progress,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(
        stop: Stop,
        report: &'a (dyn Fn(Progress) + Sync),
        candidates: usize,
        layers: usize,
    ) -> Self {
        let total = (candidates * layers) as u64;
        let latest = Progress { total, layers, live: candidates, ..Progress::default() };
        Reporter { stop, report, latest }
    }

    /// An error once the job is to end.
    pub(crate) fn check(&self) -> Result<()> {
        self.stop.check()
    }

    /// So many candidates have been through `layer`.
    pub(crate) fn done(&mut self, candidates: usize, layer: usize) {
        let latest = &mut self.latest;
        latest.done += candidates as u64;
        latest.layer = layer;
        debug_assert!(latest.done <= latest.total, "no candidate goes through a layer twice");
        (self.report)(*latest);
    }

    /// So many were decided about after a layer.
    pub(crate) fn decided(&mut self, accepted: usize, dropped: usize) {
        self.latest.accepted += accepted;
        self.latest.dropped += dropped;
    }

    /// So many candidates end after `layer`: the layers that they do not need are done with.
    pub(crate) fn ended(&mut self, candidates: usize, layer: usize) {
        let latest = &mut self.latest;
        latest.done += (candidates * (latest.layers - layer - 1)) as u64;
        latest.live -= candidates;
        debug_assert!(latest.done <= latest.total, "a candidate ends once");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::EngineError;

    #[test]
    fn layers_that_are_not_needed_count_as_done_once() {
        let seen = Mutex::new(Vec::new());
        let report = |p: Progress| {
            seen.lock().unwrap().push((p.done, p.layer, [p.live, p.accepted, p.dropped]));
        };
        let stop = Stop::default();
        let mut reporter = Reporter::new(stop.clone(), &report, 3, 4);
        reporter.done(3, 0);
        reporter.decided(0, 1);
        reporter.ended(1, 0);
        reporter.done(2, 1);
        reporter.decided(1, 0);
        reporter.ended(1, 1);
        reporter.done(1, 2);
        reporter.done(1, 3);
        let expected =
            [(3, 0, [3, 0, 0]), (8, 1, [2, 0, 1]), (11, 2, [1, 1, 1]), (12, 3, [1, 1, 1])];
        assert_eq!(*seen.lock().unwrap(), expected);
        assert!(reporter.check().is_ok());
        stop.cancel.cancel();
        assert!(matches!(reporter.check(), Err(EngineError::Cancelled)));
    }
}
