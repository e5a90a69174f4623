//! Traces of runs in which tokens left, beside the full model's on the same candidates.

use crate::policy::Mode;
use crate::ranked::Ranked;
use crate::replay::Outcome;
use crate::trace::ScoreTrace;

/// Scores of a run in which tokens left by a [`TokenPolicy`](crate::TokenPolicy), and what they are held against.
///
/// Which tokens of a candidate leave does not depend on the other candidates, so what a policy over candidates would have
/// done in such a run is read off its trace as exactly as off the full model's.
#[derive(Debug, Clone, Copy)]
pub struct TraceBeside<'t> {
    /// Scores of that run.
    pub trace: &'t ScoreTrace,
    /// Scores of the run in which none left.
    pub full: &'t ScoreTrace,
    /// For each layer the share of all tokens that entered it, 0 to 1.
    pub shares: &'t [f64],
}

impl<'t> TraceBeside<'t> {
    pub(crate) fn ranked(&self, k: usize) -> Ranked<'t> {
        Ranked::new(self.trace, k).beside(self.full, self.shares)
    }
}

/// Candidate-layers of a replay where so many of the tokens entered each layer: one in which half of them were left counts as
/// half. Without `shares` all entered.
pub fn candidate_layers(outcome: &Outcome, mode: Mode, shares: &[f64]) -> u64 {
    if shares.is_empty() {
        return outcome.candidate_layers;
    }
    let upto = work(shares);
    let decided = outcome.decided_after_layer.iter().enumerate();
    let layers = decided.map(|(candidate, decided)| {
        let to_the_end = mode == Mode::Rank && outcome.selected.contains(&candidate);
        match decided {
            _ if to_the_end => shares.len(),
            Some(layer) => layer + 1,
            None => 0,
        }
    });
    layers.map(|layers| upto[layers]).sum::<f64>().round() as u64
}

/// What a candidate has cost after so many layers, in layers with all tokens.
pub(crate) fn work(shares: &[f64]) -> Vec<f64> {
    let sums = shares.iter().scan(0.0, |sum, share| {
        *sum += share;
        Some(*sum)
    });
    std::iter::once(0.0).chain(sums).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::replay::replay;

    #[test]
    fn a_layer_counts_as_much_as_there_is_left_of_its_tokens() {
        // The first is far ahead after layer 0, the others are even until the last.
        let scores = vec![9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 1.0, 0.0];
        let trace = ScoreTrace::from_vec(3, 3, scores).unwrap();
        let policy = Policy::paper(0.0);
        let outcome = replay(&policy, &trace, 2).unwrap();
        let layers = |mode, shares: &[f64]| candidate_layers(&outcome, mode, shares);
        assert_eq!(outcome.decided_after_layer, [Some(0), Some(2), Some(2)]);
        assert_eq!(layers(Mode::Select, &[]), 7);
        assert_eq!(layers(Mode::Select, &[1.0; 3]), 7);
        assert_eq!(layers(Mode::Select, &[1.0, 0.5, 0.5]), 1 + 2 + 2);
        assert_eq!(layers(Mode::Rank, &[1.0, 0.5, 0.5]), 2 + 2 + 2);
    }
}
