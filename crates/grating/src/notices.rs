//! What is worth telling of pruning as requests are answered.

use std::collections::BTreeMap;

use grating_prune::online::Phase;

use crate::stats::Stats;

/// Pruning has begun or ended for a K.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruningNotice {
    /// K.
    pub k: usize,
    /// Whether requests are pruned from now on; everything is computed otherwise.
    pub pruning: bool,
    /// In words.
    pub message: String,
}

/// Tells of changes in pruning, from the figures of one answer after another: where a profile was put out of use or comes
/// back, or where what is learned begins or is taken as proved no more.
#[derive(Debug, Clone, Default)]
pub struct PruningNotices {
    known: BTreeMap<usize, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// By a profile, not by what was learned.
    given: bool,
    pruning: bool,
    suspicions: u64,
    alarms: u64,
    requests: u64,
}

impl PruningNotices {
    /// What has changed with this answer. Answers may come in another order than they were computed: older ones tell nothing.
    pub fn of(&mut self, stats: &Stats) -> Option<PruningNotice> {
        let (k, now) = Known::of(stats)?;
        let before = *self.known.entry(k).or_insert(now);
        let order = |known: &Known| (known.suspicions + known.alarms, known.requests);
        if order(&now) < order(&before) {
            return None;
        }
        self.known.insert(k, now);
        let message = now.since(&before)?;
        Some(PruningNotice { k, pruning: now.pruning, message: format!("K = {k}: {message}") })
    }
}

impl Known {
    fn of(stats: &Stats) -> Option<(usize, Self)> {
        if let Some(status) = &stats.monitor {
            let (suspicions, alarms) = (status.suspicions, status.alarms);
            let (pruning, requests) = (status.in_use, status.requests);
            return Some((status.k, Known { given: true, pruning, suspicions, alarms, requests }));
        }
        let status = stats.learning.as_ref()?;
        let (suspicions, alarms) = (status.suspicions, status.alarms);
        let (pruning, requests) = (status.phase == Phase::Pruning, status.requests);
        Some((status.k, Known { given: false, pruning, suspicions, alarms, requests }))
    }

    fn since(&self, before: &Self) -> Option<String> {
        let until = match self.given {
            true => {
                "everything is computed until the profile's promise is proved on the requests that come"
            }
            false => "everything is computed until a policy is proved on the requests that come",
        };
        if self.alarms > before.alarms {
            return Some(format!(
                "audits agree with the full model less than is promised; {until}"
            ));
        }
        if self.suspicions > before.suspicions {
            return Some(format!("requests look different from those before; {until}"));
        }
        let begins = self.pruning && !before.pruning;
        begins.then(|| {
            "the promise is proved on the last requests, which are pruned from now on".into()
        })
    }
}
