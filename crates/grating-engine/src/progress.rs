//! How far a job is, and whether anybody still wants it.

use crate::cancel::Stop;
use crate::error::Result;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// Counts a job's candidate-layers and reports them to whoever waits.
pub(crate) struct Reporter<'a> {
    stop: Stop,
    report: &'a (dyn Fn(Progress) + Sync),
    layers: usize,
    done: u64,
    total: u64,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(
        stop: Stop,
        report: &'a (dyn Fn(Progress) + Sync),
        candidates: usize,
        layers: usize,
    ) -> Self {
        Reporter { stop, report, layers, done: 0, total: (candidates * layers) as u64 }
    }

    /// An error once the job is to end.
    pub(crate) fn check(&self) -> Result<()> {
        self.stop.check()
    }

    /// So many candidates have been through `layer`.
    pub(crate) fn done(&mut self, candidates: usize, layer: usize) {
        self.done += candidates as u64;
        debug_assert!(self.done <= self.total, "no candidate goes through a layer twice");
        let Reporter { done, total, layers, .. } = *self;
        (self.report)(Progress { done, total, layer, layers });
    }

    /// So many candidates end after `layer`: the layers that they do not need are done with.
    pub(crate) fn ended(&mut self, candidates: usize, layer: usize) {
        self.done += (candidates * (self.layers - layer - 1)) as u64;
        debug_assert!(self.done <= self.total, "a candidate ends once");
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
        let report = |p: Progress| seen.lock().unwrap().push((p.done, p.layer));
        let stop = Stop::default();
        let mut reporter = Reporter::new(stop.clone(), &report, 3, 4);
        reporter.done(3, 0);
        reporter.ended(1, 0);
        reporter.done(2, 1);
        reporter.ended(1, 1);
        reporter.done(1, 2);
        reporter.done(1, 3);
        assert_eq!(*seen.lock().unwrap(), [(3, 0), (8, 1), (11, 2), (12, 3)]);
        assert!(reporter.check().is_ok());
        stop.cancel.cancel();
        assert!(matches!(reporter.check(), Err(EngineError::Cancelled)));
    }
}
