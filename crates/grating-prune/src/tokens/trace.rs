//! Attention that was recorded while nobody left, and what a policy makes of it.

use std::ops::Range;

use super::{StageAt, TokenMass, TokenPolicy};
use crate::error::PruneError;

/// What the scored token of one candidate gives to its rows, recorded after some layers of a run in which none left.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MassTrace {
    /// Tokens before the candidate's own rows, which all candidates share.
    pub prefix_tokens: u32,
    /// Places of the text's tokens in the whole candidate.
    pub text: Range<u32>,
    /// Attention to each of its own rows by layer, `[stage][row]`.
    pub mass: Vec<Vec<f32>>,
}

/// What a policy does with a recorded candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenOutcome {
    /// Places of the rows that are left after each stage.
    pub left: Vec<Vec<u32>>,
    /// Of those stages, how many are as the model would have it: what leaves changes the hidden states of what stays, and
    /// with them the attention of later stages, so that only the first one is.
    pub exact_stages: usize,
    /// Rows that enter a layer, summed over the layers: the work. Without a policy rows × layers.
    pub token_layers: u64,
}

impl MassTrace {
    /// A trace of these attentions.
    pub fn new(prefix_tokens: u32, text: Range<u32>, mass: Vec<Vec<f32>>) -> Self {
        MassTrace { prefix_tokens, text, mass }
    }
}

/// Runs a policy over a trace whose stages were recorded at the places `at` of a model of so many layers.
///
/// The first stage is exact. For later ones the recorded attention, of a run in which nobody had left, stands for that
/// which the model would show; [`TokenOutcome::exact_stages`] says how far the outcome can be relied on.
///
/// # Errors
/// [`PruneError::InvalidPolicy`], also where the trace has not as many layers as there are stages, or layers differ in
/// their rows.
pub fn replay_tokens(
    policy: &TokenPolicy,
    at: &[StageAt],
    layers: usize,
    trace: &MassTrace,
) -> Result<TokenOutcome, PruneError> {
    policy.validate()?;
    let rows = trace.mass.first().map_or(0, Vec::len);
    if trace.mass.len() != at.len() || trace.mass.iter().any(|mass| mass.len() != rows) {
        let found = format!("{} for {} stages", trace.mass.len(), at.len());
        let expected = "one layer for each stage, of as many rows";
        return Err(PruneError::InvalidPolicy { setting: "recorded attention", found, expected });
    }
    let acts = policy.acts_on(trace.prefix_tokens as usize + rows);
    let mut alive: Vec<usize> = (0..rows).collect();
    let (mut left, mut token_layers, mut done) = (Vec::new(), 0, 0);
    for (place, recorded) in at.iter().zip(&trace.mass) {
        let entered = place.layer + 1;
        token_layers += alive.len() as u64 * (entered - done) as u64;
        done = entered;
        if acts {
            let mass: Vec<f32> = alive.iter().map(|&row| recorded[row]).collect();
            let positions = trace.positions(&alive);
            let text = trace.text.clone();
            let tokens = TokenMass { mass: &mass, positions: &positions, text };
            let stays = policy.stays(&policy.stages[place.stage], &tokens);
            let mut stays = stays.into_iter();
            alive.retain(|_| stays.next().unwrap_or(true));
        }
        left.push(trace.positions(&alive));
    }
    token_layers += alive.len() as u64 * layers.saturating_sub(done) as u64;
    Ok(TokenOutcome { exact_stages: left.len().min(1), left, token_layers })
}

impl MassTrace {
    fn positions(&self, rows: &[usize]) -> Vec<u32> {
        rows.iter().map(|&row| self.prefix_tokens + row as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::TokenStage;
    use super::*;

    fn policy(min_tokens: usize) -> TokenPolicy {
        let stages = vec![TokenStage::new(0.25, 0.5), TokenStage::new(0.5, 0.5)];
        TokenPolicy::new(stages).with_min_tokens(min_tokens)
    }

    #[test]
    fn later_sets_are_part_of_earlier_ones_and_rows_are_counted_as_they_enter() {
        let policy = policy(4);
        let at = policy.layers(8, |_| true);
        let mass = vec![vec![0.0, 0.4, 0.3, 0.2, 0.1, 0.0], vec![0.0, 0.1, 0.2, 0.9, 0.9, 0.0]];
        let trace = MassTrace::new(5, 6..10, mass);
        let outcome = replay_tokens(&policy, &at, 8, &trace).unwrap();
        // Rows 3 and 4 have left when their attention is the greater.
        assert_eq!(outcome.left, [vec![5, 6, 7, 10], vec![5, 7, 10]]);
        assert_eq!(outcome.exact_stages, 1);
        assert_eq!(outcome.token_layers, 2 * 6 + 2 * 4 + 4 * 3);
        let short = replay_tokens(&self::policy(12), &at, 8, &trace).unwrap();
        assert_eq!((short.left[1].len(), short.token_layers), (6, 48));
    }

    #[test]
    fn a_trace_of_other_stages_is_refused() {
        let policy = policy(4);
        let at = policy.layers(8, |_| true);
        for mass in [vec![vec![0.0; 3]], vec![vec![0.0; 3], vec![0.0; 2]]] {
            let error = replay_tokens(&policy, &at, 8, &MassTrace::new(0, 0..3, mass)).unwrap_err();
            assert!(error.to_string().contains("recorded attention"), "{error}");
        }
    }
}
