//! Profiles that are watched where they are used.

use std::sync::{Mutex, MutexGuard, PoisonError};

use grating_prune::ScoreTrace;
use grating_prune::online::{Monitor, MonitorOptions, MonitorStatus, Signals};

use crate::error::Result;
use crate::profile::Profile;

/// The watch over one profile's policy, shared by the requests that it prunes.
#[derive(Debug)]
pub(crate) struct ProfileMonitor(Mutex<Monitor>);

impl ProfileMonitor {
    /// Nothing where the profile has no policy.
    pub(crate) fn of(profile: &Profile) -> Result<Option<Self>> {
        let Some(policy) = profile.policy.clone() else { return Ok(None) };
        let monitor = Monitor::new(policy, profile.k, MonitorOptions::new(profile.promise))?
            .with_kinds(profile.signals_by_kind());
        Ok(Some(ProfileMonitor(Mutex::new(monitor))))
    }

    /// Whether the policy may prune the next request; it is run in full otherwise.
    pub(crate) fn in_use(&self) -> bool {
        self.lock().in_use()
    }

    /// A request that was run in full: scores of its distinct texts as the profile reads them, `[layer][text]`.
    pub(crate) fn observe(&self, scores: &[Vec<f32>]) -> Result<MonitorStatus> {
        let candidates = scores.first().map_or(0, Vec::len);
        let trace = ScoreTrace::from_vec(scores.len(), candidates, scores.concat())?;
        let mut monitor = self.lock();
        monitor.observe(&trace)?;
        Ok(monitor.status())
    }

    /// What was seen of a request that the policy has pruned.
    pub(crate) fn observe_pruned(&self, signals: &Signals) -> MonitorStatus {
        let mut monitor = self.lock();
        monitor.observe_pruned(signals);
        monitor.status()
    }

    pub(crate) fn status(&self) -> MonitorStatus {
        self.lock().status()
    }

    fn lock(&self) -> MutexGuard<'_, Monitor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
