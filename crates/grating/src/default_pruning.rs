//! How requests prune that do not say it themselves.

use std::sync::Arc;

use grating_engine::Readouts;
use grating_prune::{Mode, Policy};

use crate::learning::Learning;
use crate::profile::{Profile, ProfileError};
use crate::request::Pruning;

/// What a request prunes by.
#[derive(Debug, Clone)]
pub(crate) struct PruningRule {
    pub(crate) policy: Policy,
    /// How scores after intermediate layers are read; none is the model's own head.
    pub(crate) readouts: Option<Readouts>,
}

/// A reranker's own setting.
#[derive(Debug)]
pub(crate) enum DefaultPruning {
    /// Said by the caller.
    Set(Pruning),
    /// The caller's profile: another K is an error.
    Profile(Box<Profile>),
    /// Profiles that came with the model, which the caller may not know of: another K computes everything.
    Shipped(Vec<Profile>),
    /// Learned from the requests themselves.
    Learned(Arc<Learning>),
}

impl DefaultPruning {
    /// What a request for `k` texts prunes by; none computes everything.
    pub(crate) fn rule(&self, k: usize) -> Result<Option<PruningRule>, ProfileError> {
        let rule = |profile: &Profile| {
            let readouts = profile.readouts.clone();
            profile.policy.clone().map(|policy| PruningRule { policy, readouts })
        };
        match self {
            DefaultPruning::Set(Pruning::Off | Pruning::Auto(_)) => Ok(None),
            DefaultPruning::Set(Pruning::By(policy)) => Ok(Some(PruningRule::of(policy.clone()))),
            DefaultPruning::Profile(profile) if profile.k != k => {
                Err(ProfileError::OtherK { expected: profile.k, found: k })
            }
            DefaultPruning::Profile(profile) => Ok(rule(profile)),
            DefaultPruning::Shipped(profiles) => {
                Ok(profiles.iter().find(|profile| profile.k == k).and_then(rule))
            }
            // Each request is decided by itself.
            DefaultPruning::Learned(_) => Ok(None),
        }
    }
}

impl PruningRule {
    /// By scores of the model's own head.
    pub(crate) fn of(policy: Policy) -> Self {
        PruningRule { policy, readouts: None }
    }

    /// In another mode, where one is asked for: verdicts and promise are the same in both.
    pub(crate) fn in_mode(mut self, mode: Option<Mode>) -> Self {
        self.policy.mode = mode.unwrap_or(self.policy.mode);
        self
    }
}
