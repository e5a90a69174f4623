//! What the steps hand on: one file for each set and step.

use std::path::{Path, PathBuf};

use grating::prune::Policy;
use grating::{Measured, Profile};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::settings::Setting;

/// One set: its calibrations, and its times where they were taken.
#[derive(Serialize, Deserialize)]
pub(crate) struct Study {
    pub(crate) name: String,
    /// One for each of [`KS`](crate::KS).
    pub(crate) ks: Vec<OfK>,
    /// For K = 10.
    pub(crate) settings: Vec<Setting>,
    #[serde(skip)]
    pub(crate) times: Option<Times>,
}

/// Calibrations for one K.
#[derive(Serialize, Deserialize)]
pub(crate) struct OfK {
    pub(crate) k: usize,
    /// The promise that the number of queries allows, scores read in whichever way saves more.
    pub(crate) promised: Profile,
    /// By the model's own head.
    pub(crate) head: Profile,
    /// By fitted readouts.
    pub(crate) fitted: Profile,
    /// Each level on its own: (level, share of candidate-layers saved on the test half and agreement there, if certified).
    pub(crate) levels: Vec<(f64, Option<(f64, f64)>)>,
    /// The sweep: what each family needs for an agreement on the calibrating half.
    pub(crate) points: Vec<Point>,
}

/// The cheapest policy of a family whose mean agreement on the calibrating half is at least `level`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) family: Kind,
    pub(crate) level: f64,
    pub(crate) policy: Policy,
    /// Whether fitted readouts read for it.
    pub(crate) fitted: bool,
    /// On the test half.
    pub(crate) test: Measured,
}

/// Whose policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Paper,
    Ours,
    /// The one that a promise was certified for.
    Promised,
}

/// Requests in full and by policies, in turn.
#[derive(Serialize, Deserialize)]
pub(crate) struct Times {
    /// Queries of the test half.
    pub(crate) queries: usize,
    /// Mean of a request in full, seconds.
    pub(crate) full: f64,
    pub(crate) timed: Vec<Timed>,
}

/// One policy.
#[derive(Serialize, Deserialize)]
pub(crate) struct Timed {
    pub(crate) k: usize,
    pub(crate) family: Kind,
    pub(crate) level: f64,
    /// Time divided by that of the same requests in full.
    pub(crate) share: f64,
    /// Median over the requests of the same.
    pub(crate) median: f64,
    /// Mean agreement with the full model.
    pub(crate) overlap: f64,
    /// Share of candidate-layers computed.
    pub(crate) layers: f64,
}

impl Study {
    /// What the first step found of a set and, where there is that, the second.
    pub(crate) fn read(work: &Path, set: &str) -> Outcome<Self> {
        let [calibrated, times] = files(work, set);
        let mut study: Study = load(&calibrated)?;
        study.times = times.exists().then(|| load(&times)).transpose()?;
        Ok(study)
    }

    /// How long a policy took.
    pub(crate) fn timed(&self, k: usize, family: Kind, level: f64) -> Option<&Timed> {
        let timed = &self.times.as_ref()?.timed;
        timed.iter().find(|t| t.k == k && t.family == family && t.level == level)
    }
}

impl OfK {
    /// The profile that a point's policy is used with.
    pub(crate) fn profile(&self, point: &Point) -> Profile {
        let mut profile = if point.fitted { &self.fitted } else { &self.head }.clone();
        profile.policy = Some(point.policy.clone());
        profile
    }
}

/// What the first two steps write of a set.
pub(crate) fn files(work: &Path, set: &str) -> [PathBuf; 2] {
    let name = set.split_once('@').map_or(set, |(name, _)| name);
    ["calibrated", "timed"].map(|step| work.join(format!("{name}.{step}.json")))
}

pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Outcome<T> {
    let text =
        std::fs::read(path).map_err(|e| format!("{}: {e}: run the step before", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}
