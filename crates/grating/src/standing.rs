//! How requests prune that do not say it themselves.

use grating_engine::Readouts;
use grating_prune::Policy;

use crate::profile::{Profile, ProfileError};
use crate::request::Pruning;

/// What a request prunes by.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) policy: Policy,
    /// How scores after intermediate layers are read; none is the model's own head.
    pub(crate) readouts: Option<Readouts>,
}

/// A reranker's own setting.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Said by the caller.
    Said(Pruning),
    /// The caller's profile: another K is an error.
    Given(Box<Profile>),
    /// Profiles that came with the model, which the caller may not know of: another K computes everything.
    Shipped(Vec<Profile>),
}

impl Standing {
    /// What a request for `k` texts prunes by; none computes everything.
    pub(crate) fn rule(&self, k: usize) -> Result<Option<Rule>, ProfileError> {
        let rule = |profile: &Profile| {
            let readouts = profile.readouts.clone();
            profile.policy.clone().map(|policy| Rule { policy, readouts })
        };
        match self {
            Standing::Said(Pruning::Off) => Ok(None),
            Standing::Said(Pruning::By(policy)) => Ok(Some(Rule::of(policy.clone()))),
            Standing::Given(profile) if profile.k != k => {
                Err(ProfileError::OtherK { expected: profile.k, found: k })
            }
            Standing::Given(profile) => Ok(rule(profile)),
            Standing::Shipped(profiles) => {
                Ok(profiles.iter().find(|profile| profile.k == k).and_then(rule))
            }
        }
    }
}

impl Rule {
    /// By scores of the model's own head.
    pub(crate) fn of(policy: Policy) -> Self {
        Rule { policy, readouts: None }
    }
}
