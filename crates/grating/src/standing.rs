//! How requests prune that do not say it themselves.

use grating_prune::Policy;

use crate::profile::{Profile, ProfileError};
use crate::request::Pruning;

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
    /// The policy of a request for `k` texts; none computes everything.
    pub(crate) fn policy(&self, k: usize) -> Result<Option<Policy>, ProfileError> {
        match self {
            Standing::Said(Pruning::Off) => Ok(None),
            Standing::Said(Pruning::By(policy)) => Ok(Some(*policy)),
            Standing::Given(profile) if profile.k != k => {
                Err(ProfileError::OtherK { expected: profile.k, found: k })
            }
            Standing::Given(profile) => Ok(profile.policy),
            Standing::Shipped(profiles) => {
                Ok(profiles.iter().find(|profile| profile.k == k).and_then(|p| p.policy))
            }
        }
    }
}
