//! One policy under test, and the gambler who bets that it keeps the promise.

use crate::error::PruneError;
use crate::metrics::agreement_at_k;
use crate::policy::Policy;
use crate::replay::replay;
use crate::trace::ScoreTrace;

/// What the gambler imagines beside what was seen: this much of one request with a loss of one half.
const IMAGINED: f64 = 0.5;

/// A policy, what it lost where, and the capital of who bets against "it loses more than is allowed".
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Contender {
    pub(super) policy: Policy,
    /// Losses that occurred, each with how often: multiples of 1/K, so few.
    losses: Vec<(f64, f64)>,
    /// Of the requests that tested it.
    pub(super) tested: u64,
    loss: f64,
    computed: u64,
    full: u64,
    ln_capital: f64,
    highest: f64,
    pub(super) certified: bool,
}

/// What a policy does with one request.
pub(super) struct Outcome {
    /// 1 - agreement@K.
    pub(super) loss: f64,
    pub(super) computed: u64,
    pub(super) full: u64,
}

impl Outcome {
    pub(super) fn of(policy: &Policy, trace: &ScoreTrace, k: usize) -> Result<Self, PruneError> {
        let outcome = replay(policy, trace, k)?;
        let agreement = agreement_at_k(&outcome.selected, &trace.final_ranking(), k);
        let full = trace.candidates() as u64 * trace.layers() as u64;
        Ok(Outcome { loss: 1.0 - agreement, computed: outcome.candidate_layers, full })
    }
}

impl Contender {
    /// With what exploring showed of it.
    pub(super) fn new(policy: Policy, explored: &[f64]) -> Self {
        let mut contender = Contender {
            policy,
            losses: Vec::new(),
            tested: 0,
            loss: 0.0,
            computed: 0,
            full: 0,
            ln_capital: 0.0,
            highest: 0.0,
            certified: false,
        };
        explored.iter().for_each(|&loss| contender.count(loss));
        contender
    }

    /// A request that tests it.
    pub(super) fn test(&mut self, outcome: &Outcome, allowed: f64) {
        // The stake depends on the requests before alone.
        let stake = self.stake(allowed);
        self.ln_capital += (stake * (allowed - outcome.loss)).ln_1p();
        self.highest = self.highest.max(self.ln_capital);
        self.tested += 1;
        self.loss += outcome.loss;
        self.computed += outcome.computed;
        self.full += outcome.full;
        self.count(outcome.loss);
    }

    /// Whether its capital has ever reached 1 / `error`.
    pub(super) fn has_won(&self, error: f64) -> bool {
        self.highest >= -error.ln()
    }

    /// Share of the candidate-layers that it computes, on the requests that tested it.
    pub(super) fn cost(&self) -> f64 {
        if self.full == 0 { 1.0 } else { self.computed as f64 / self.full as f64 }
    }

    /// Mean agreement on the requests that tested it.
    pub(super) fn agreement(&self) -> Option<f64> {
        (self.tested > 0).then(|| 1.0 - self.loss / self.tested as f64)
    }

    fn count(&mut self, loss: f64) {
        match self.losses.iter_mut().find(|(known, _)| (known - loss).abs() < 1e-9) {
            Some((_, times)) => *times += 1.0,
            None => self.losses.push((loss, 1.0)),
        }
    }

    /// The stake with which the capital would have grown the most: where the derivative of
    /// `Σ ln(1 + λ (allowed - loss))` is zero, in [0, 1 / (1 - allowed)), short of its end.
    fn stake(&self, allowed: f64) -> f64 {
        let growth = |stake: f64| {
            let imagined = IMAGINED * (allowed - 0.5) / (1.0 + stake * (allowed - 0.5));
            let seen = self.losses.iter().map(|&(loss, times)| {
                let gain = allowed - loss;
                times * gain / (1.0 + stake * gain)
            });
            imagined + seen.sum::<f64>()
        };
        let (mut below, mut above) = (0.0, 0.99 / (1.0 - allowed));
        if growth(below) <= 0.0 {
            return 0.0;
        }
        if growth(above) >= 0.0 {
            return above;
        }
        while above - below > 1e-6 {
            let stake = 0.5 * (below + above);
            match growth(stake) > 0.0 {
                true => below = stake,
                false => above = stake,
            }
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(loss: f64) -> Outcome {
        Outcome { loss, computed: 50, full: 100 }
    }

    #[test]
    fn without_a_loss_the_proof_comes_as_soon_as_it_can() {
        // (1 + 0.99 / 0.95 * 0.05)^n reaches 20 with n = 59; no test can do with less than 0.95^-n >= 20, that is 59.
        let mut contender = Contender::new(Policy::paper(1.0), &[0.0; 20]);
        let mut needed = 0;
        while !contender.has_won(0.05) {
            contender.test(&outcome(0.0), 0.05);
            needed += 1;
        }
        assert!((59..=66).contains(&needed), "{needed}");
        assert_eq!((contender.agreement(), contender.cost()), (Some(1.0), 0.5));
    }

    #[test]
    fn what_loses_more_than_is_allowed_is_not_bet_on() {
        let mut contender = Contender::new(Policy::paper(1.0), &[0.1; 20]);
        (0..200).for_each(|_| contender.test(&outcome(0.1), 0.05));
        assert!(!contender.has_won(0.5));
        assert_eq!(contender.stake(0.05), 0.0);
    }
}
