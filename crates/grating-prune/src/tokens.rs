//! Which tokens of a long candidate go on: those that matter, by what attention tells of them.
//!
//! Most tokens of a long text are about something else, and what the others say has spread by the middle layers. After
//! some layers ([`TokenStage`]) attention tells which ones still matter ([`Signal`]); the rest leave their
//! candidate, and no later layer computes them. This is lossy, unlike a verdict on a replayed trace: what leaves changes
//! what follows.

mod choose;
mod named;
mod trace;

pub use self::choose::TokenMass;
pub use self::trace::{MassTrace, TokenOutcome, replay_tokens};
use crate::error::PruneError;

/// When tokens leave long candidates, and which ones.
///
/// ```
/// use grating_prune::TokenPolicy;
///
/// let policy = TokenPolicy::lazy_llm();
/// // After which of 24 layers, all of which see whole sequences.
/// let layers: Vec<usize> = policy.layers(24, |_| true).iter().map(|at| at.layer).collect();
/// assert_eq!(layers, [6, 11, 16]);
/// // What is left of a candidate of 1000 tokens, 900 of them its text's.
/// assert_eq!(policy.rows_left(1000, 900), [730, 541, 409]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct TokenPolicy {
    /// The earliest first.
    pub stages: Vec<TokenStage>,
    /// Candidates of fewer tokens, template and query included, are left as they are, to the bit.
    pub min_tokens: usize,
    /// Tokens at the beginning of each text that stay in any case. Template and query always do.
    pub first: usize,
    /// Tokens at its end that stay in any case.
    pub last: usize,
}

/// One chance for tokens to leave.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct TokenStage {
    /// The share of the model's layers that all tokens go through before, more than 0 and less than 1.
    pub depth: f64,
    /// Who stays.
    pub keep: Keep,
    /// Tokens that stay or leave together, neighbours in the text: 1 for single ones.
    pub block: usize,
    /// By whose attention they are judged.
    #[cfg_attr(feature = "serde", serde(default))]
    pub signal: Signal,
    /// How the heads' attention is put together.
    pub heads: OverHeads,
    /// With [`Signal::Scored`], whether a token's attention counts as often as the norm of its value: what is looked at may
    /// have little to say.
    #[cfg_attr(feature = "serde", serde(default))]
    pub by_value: bool,
}

/// Which blocks of a text stay after a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Keep {
    /// This share of those that are still in, rounded up, so that one stays at least; more than 0, at most 1.
    Share(f64),
    /// Those with at least so many times the mean attention of those that are still in.
    Threshold(f64),
}

/// What attention tells of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Signal {
    /// How much the token pays to it that the score is read from.
    #[default]
    Scored,
    /// How much it pays itself to the query's tokens: what has to do with the query looks at it, long before the scored
    /// token looks anywhere. In models that see no later tokens the query must stand before the text; where it does not,
    /// [`Signal::Scored`] counts.
    Query,
}

/// One number for a token from the attention of several heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OverHeads {
    /// The mean: what many heads look at.
    Mean,
    /// The largest: what any head looks at.
    Maximum,
}

/// A stage at its place in a model.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StageAt {
    /// Its number in the policy.
    pub stage: usize,
    /// The layer, from 0, by whose attention it judges; who leaves is in no layer after it.
    pub layer: usize,
}

impl TokenStage {
    /// A stage at this depth that keeps this share of single tokens by the mean over heads.
    pub fn new(depth: f64, share: f64) -> Self {
        let (keep, signal, heads) = (Keep::Share(share), Signal::Scored, OverHeads::Mean);
        TokenStage { depth, keep, block: 1, signal, heads, by_value: false }
    }

    /// Keeping others.
    #[must_use]
    pub fn with_keep(self, keep: Keep) -> Self {
        TokenStage { keep, ..self }
    }

    /// In blocks of so many tokens.
    #[must_use]
    pub fn with_block(self, block: usize) -> Self {
        TokenStage { block, ..self }
    }

    /// By another attention.
    #[must_use]
    pub fn with_signal(self, signal: Signal) -> Self {
        TokenStage { signal, ..self }
    }

    /// With the heads put together in another way.
    #[must_use]
    pub fn with_heads(self, heads: OverHeads) -> Self {
        TokenStage { heads, ..self }
    }

    /// With attention counted by the norms of values, or not.
    #[must_use]
    pub fn with_value_norms(self, by_value: bool) -> Self {
        TokenStage { by_value, ..self }
    }

    fn validate(&self) -> Result<(), PruneError> {
        let wrong = |setting, found: f64, expected| {
            let found = found.to_string();
            Err(PruneError::InvalidPolicy { setting, found, expected })
        };
        if !(self.depth > 0.0 && self.depth < 1.0) {
            return wrong("depth", self.depth, "more than 0 and less than 1");
        }
        if self.block == 0 {
            return wrong("block", 0.0, "at least 1");
        }
        match self.keep {
            Keep::Share(share) if !(share > 0.0 && share <= 1.0) => {
                wrong("share", share, "more than 0 and at most 1")
            }
            Keep::Threshold(least) if !(least >= 0.0 && least.is_finite()) => {
                wrong("threshold", least, "finite and at least 0")
            }
            _ => Ok(()),
        }
    }
}

impl TokenPolicy {
    /// A policy of these stages, for candidates of at least [`Self::MIN_TOKENS`] tokens.
    pub fn new(stages: Vec<TokenStage>) -> Self {
        TokenPolicy { stages, min_tokens: Self::MIN_TOKENS, first: 0, last: 0 }
    }

    /// The least length that policies act on where nobody says: what encoders take as a whole.
    pub const MIN_TOKENS: usize = 512;

    /// For candidates of at least so many tokens.
    #[must_use]
    pub fn with_min_tokens(self, min_tokens: usize) -> Self {
        TokenPolicy { min_tokens, ..self }
    }

    /// With so many tokens at a text's beginning and at its end that stay.
    #[must_use]
    pub fn with_ends(self, first: usize, last: usize) -> Self {
        TokenPolicy { first, last, ..self }
    }

    /// Checks every setting's range.
    ///
    /// # Errors
    /// [`PruneError::InvalidPolicy`] names the first setting out of range.
    pub fn validate(&self) -> Result<(), PruneError> {
        let wrong = |setting, found: &str, expected| {
            Err(PruneError::InvalidPolicy { setting, found: found.to_owned(), expected })
        };
        if self.stages.is_empty() {
            return wrong("stages", "empty", "at least one");
        }
        self.stages.iter().try_for_each(TokenStage::validate)?;
        if !self.stages.is_sorted_by(|a, b| a.depth < b.depth) {
            return wrong("stages", "not in order", "one deeper than the other");
        }
        Ok(())
    }

    /// Where the stages are in a model of so many layers. A stage whose layer does not [see](Self) whole sequences, of
    /// which `sees_all` tells, is at the next one that does; the last layer ends all, so none is there. Stages without a
    /// layer of their own are left out.
    pub fn layers(&self, layers: usize, sees_all: impl Fn(usize) -> bool) -> Vec<StageAt> {
        let mut free = 0;
        let mut places = Vec::new();
        for (stage, settings) in self.stages.iter().enumerate() {
            let before = (settings.depth * layers as f64).round() as usize;
            let last = layers.saturating_sub(1);
            let from = before.min(last).saturating_sub(1).max(free);
            if let Some(layer) = (from..last).find(|&layer| sees_all(layer)) {
                free = layer + 1;
                places.push(StageAt { stage, layer });
            }
        }
        places
    }

    /// Whether candidates of so many tokens are long ones.
    pub fn acts_on(&self, tokens: usize) -> bool {
        tokens >= self.min_tokens
    }

    /// Rows that are left after each stage of a candidate of so many, `text` of them its text's: of a share what it comes
    /// to, give or take a block, of a threshold all, since who passes it is not known before.
    pub fn rows_left(&self, rows: usize, text: usize) -> Vec<usize> {
        let free = text.saturating_sub(self.first.saturating_add(self.last));
        let others = rows - free;
        let stages = self.stages.iter().scan(free, |free, stage| {
            if let Keep::Share(share) = stage.keep {
                let blocks = free.div_ceil(stage.block);
                *free = (*free).min(choose::share_of(share, blocks) * stage.block);
            }
            Some(others + *free)
        });
        stages.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_where_whole_sequences_are_seen_and_never_after_the_last_layer() {
        let policy = TokenPolicy::new(vec![
            TokenStage::new(0.1, 0.5),
            TokenStage::new(0.2, 0.5),
            TokenStage::new(0.9, 0.5),
        ]);
        let at = |layers, every: usize| -> Vec<(usize, usize)> {
            let places = policy.layers(layers, |layer| layer % every == 0);
            places.iter().map(|at| (at.stage, at.layer)).collect()
        };
        assert_eq!(at(20, 1), [(0, 1), (1, 3), (2, 17)]);
        assert_eq!(at(20, 3), [(0, 3), (1, 6), (2, 18)]);
        // Two stages do not share a layer, and none is the last.
        assert_eq!(at(4, 1), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(at(3, 1), [(0, 0), (1, 1)]);
        assert_eq!(at(1, 1), []);
    }

    #[test]
    fn rows_that_are_left_are_counted_whatever_the_settings() {
        let stages = vec![TokenStage::new(0.5, 0.5).with_block(8)];
        let policy = TokenPolicy::new(stages);
        assert_eq!(policy.rows_left(100, 80), [60]);
        let all = policy.clone().with_ends(usize::MAX, usize::MAX);
        assert_eq!(all.rows_left(100, 80), [100]);
        let one = TokenPolicy::new(vec![TokenStage::new(0.5, 0.5).with_block(usize::MAX)]);
        assert_eq!((one.rows_left(100, 80), one.rows_left(20, 0)), (vec![100], vec![20]));
        // A share is of at least one block.
        let least = TokenPolicy::new(vec![TokenStage::new(0.5, f64::MIN_POSITIVE)]);
        assert_eq!(least.rows_left(100, 80), [21]);
    }

    #[test]
    fn ranges_are_checked() {
        let one = |stage| TokenPolicy::new(vec![stage]);
        let ok = TokenStage::new(0.5, 0.5);
        assert_eq!(one(ok).validate(), Ok(()));
        for (policy, setting) in [
            (TokenPolicy::new(vec![]), "stages"),
            (TokenPolicy::new(vec![ok, ok]), "stages"),
            (one(TokenStage::new(0.0, 0.5)), "depth"),
            (one(TokenStage::new(1.0, 0.5)), "depth"),
            (one(TokenStage::new(f64::NAN, 0.5)), "depth"),
            (one(TokenStage::new(0.5, 0.0)), "share"),
            (one(TokenStage::new(0.5, 1.1)), "share"),
            (one(ok.with_keep(Keep::Threshold(-0.1))), "threshold"),
            (one(ok.with_keep(Keep::Threshold(f64::NAN))), "threshold"),
            (one(ok.with_block(0)), "block"),
        ] {
            let error = policy.validate().unwrap_err();
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}
