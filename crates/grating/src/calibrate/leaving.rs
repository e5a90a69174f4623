//! Runs of the sample in which tokens left long texts.

use grating_prune::{ScoreTrace, TokenPolicy, calibrate::TraceBeside};

use super::fit::Case;
use super::measure::Read;
use super::{CalibrateError, Traces};
use crate::error::Result;

/// What a token policy did with each of the sample's queries.
pub(super) struct Leaving<'a> {
    pub(super) tokens: &'a TokenPolicy,
    /// In the order of the split.
    pub(super) runs: Vec<Read<'a>>,
}

impl<'a> Leaving<'a> {
    /// # Errors
    /// [`CalibrateError::NoTrace`] for a query that was not run with it.
    pub(super) fn of(
        tokens: &'a TokenPolicy,
        traces: &'a Traces,
        cases: &[Case<'_>],
    ) -> Result<Self> {
        let run = |Case { query, .. }: &Case<'_>| -> Result<Read<'a>> {
            let missing = || CalibrateError::NoTrace { query: query.id.clone() };
            let recorded = traces.recorded(&query.key_under(Some(tokens)));
            let recorded = recorded.ok_or_else(missing)?;
            recorded.check(query, traces.model.layers, None)?;
            let left = recorded.left.as_ref().ok_or_else(missing)?;
            Ok(Read { trace: &recorded.trace, shares: &left.shares })
        };
        let runs = cases.iter().map(run).collect::<Result<_>>()?;
        Ok(Leaving { tokens, runs })
    }

    /// The calibrating queries' own traces, and each beside the full model's.
    pub(super) fn sample<'t>(
        &self,
        calibrating: &[Read<'t>],
        full: &'t [ScoreTrace],
    ) -> (Vec<ScoreTrace>, Vec<TraceBeside<'t>>) {
        let own = calibrating.iter().map(|run| run.trace.clone()).collect();
        let beside = calibrating
            .iter()
            .zip(full)
            .map(|(&Read { trace, shares }, full)| TraceBeside { trace, full, shares });
        (own, beside.collect())
    }
}
