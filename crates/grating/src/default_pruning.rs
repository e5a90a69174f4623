//! How requests prune that do not say it themselves.

use std::sync::Arc;

use grating_engine::Readouts;
use grating_prune::{Mode, Policy, TokenPolicy};

use crate::error::Result;
use crate::learning::Learning;
use crate::monitor::ProfileMonitor;
use crate::profile::{Profile, ProfileError};
use crate::request::Pruning;

/// What a request prunes by.
#[derive(Debug, Clone)]
pub(crate) struct PruningRule {
    pub(crate) policy: Policy,
    /// Which tokens leave long texts where the request says nothing of these.
    pub(crate) tokens: Option<TokenPolicy>,
    /// How scores after intermediate layers are read; none is the model's own head.
    pub(crate) readouts: Option<Readouts>,
    /// Who watches a policy that came with a promise.
    pub(crate) monitor: Option<Arc<ProfileMonitor>>,
}

/// A profile, and who watches its policy.
#[derive(Debug)]
pub(crate) struct WatchedProfile {
    profile: Profile,
    monitor: Option<Arc<ProfileMonitor>>,
}

/// A reranker's own setting.
#[derive(Debug)]
pub(crate) enum DefaultPruning {
    /// Said by the caller.
    Set(Pruning),
    /// The caller's profile: another K is an error.
    Profile(Box<WatchedProfile>),
    /// Profiles that came with the model, which the caller may not know of: another K computes everything.
    Shipped(Vec<WatchedProfile>),
    /// Learned from the requests themselves.
    Learned(Arc<Learning>),
}

impl DefaultPruning {
    /// What a request for `k` texts prunes by; none computes everything.
    pub(crate) fn rule(&self, k: usize) -> Result<Option<PruningRule>, ProfileError> {
        match self {
            DefaultPruning::Set(Pruning::Off | Pruning::Auto(_)) => Ok(None),
            DefaultPruning::Set(Pruning::By(policy)) => Ok(Some(PruningRule::of(policy.clone()))),
            DefaultPruning::Profile(watched) if watched.profile.k != k => {
                Err(ProfileError::OtherK { expected: watched.profile.k, found: k })
            }
            DefaultPruning::Profile(watched) => Ok(watched.rule()),
            DefaultPruning::Shipped(profiles) => {
                let its_own = profiles.iter().find(|watched| watched.profile.k == k);
                Ok(its_own.and_then(WatchedProfile::rule))
            }
            // Each request is decided by itself.
            DefaultPruning::Learned(_) => Ok(None),
        }
    }

    /// Those who watch.
    pub(crate) fn monitors(&self) -> impl Iterator<Item = &ProfileMonitor> {
        let profiles = match self {
            DefaultPruning::Profile(watched) => std::slice::from_ref(&**watched),
            DefaultPruning::Shipped(profiles) => profiles,
            DefaultPruning::Set(_) | DefaultPruning::Learned(_) => &[],
        };
        profiles.iter().filter_map(|watched| watched.monitor.as_deref())
    }
}

impl WatchedProfile {
    pub(crate) fn new(profile: Profile) -> Result<Self> {
        let monitor = match profile.tokens {
            // Nobody watches what tokens that leave do: it would take the full model.
            Some(_) => None,
            None => ProfileMonitor::of(&profile)?.map(Arc::new),
        };
        Ok(WatchedProfile { profile, monitor })
    }

    fn rule(&self) -> Option<PruningRule> {
        let (readouts, monitor) = (self.profile.readouts.clone(), self.monitor.clone());
        let tokens = self.profile.tokens.clone();
        let policy = self.profile.policy.clone();
        policy.map(|policy| PruningRule { policy, tokens, readouts, monitor })
    }
}

impl PruningRule {
    /// By scores of the model's own head.
    pub(crate) fn of(policy: Policy) -> Self {
        PruningRule { policy, tokens: None, readouts: None, monitor: None }
    }

    /// In another mode, where one is asked for: verdicts and promise are the same in both.
    pub(crate) fn in_mode(mut self, mode: Option<Mode>) -> Self {
        self.policy.mode = mode.unwrap_or(self.policy.mode);
        self
    }
}
