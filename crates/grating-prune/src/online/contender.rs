//! One policy under test, and the gambler who bets that it keeps the promise.

use crate::error::PruneError;
use crate::policy::Policy;
use crate::ranked::Ranked;

/// What the gambler imagines beside what was seen: this much of one request with a loss.
const IMAGINED: f64 = 0.5;
/// Tests after which a policy that has won nothing is given up.
pub(super) const PATIENCE: u64 = 60;
/// As how many requests those of another traffic count when a policy is tested anew.
const REMEMBERED: f64 = 12.0;

/// A policy, what it lost where, and the capital of who bets against "it loses more than is allowed".
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Contender {
    pub(super) policy: Policy,
    /// The loss that is imagined: one half, or the least that there can be where that is more.
    imagined: f64,
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
    pub(super) fn of(policy: &Policy, trace: &Ranked<'_>) -> Result<Self, PruneError> {
        let effect = trace.effect(policy)?;
        let (loss, computed) = (1.0 - effect.agreement, effect.candidate_layers);
        Ok(Outcome { loss, computed, full: trace.full() })
    }
}

impl Contender {
    /// With what exploring showed of it.
    pub(super) fn new(policy: Policy, k: usize, explored: &[f64]) -> Self {
        let mut contender = Contender {
            policy,
            imagined: (1.0 / k as f64).max(0.5),
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

    /// The same policy before another traffic: nothing is proved of it, and what it lost counts little.
    pub(super) fn anew(self) -> Self {
        let seen: f64 = self.losses.iter().map(|(_, times)| times).sum();
        let share = (REMEMBERED / seen.max(1.0)).min(1.0);
        let losses = self.losses.into_iter().map(|(loss, times)| (loss, share * times)).collect();
        let imagined = self.imagined;
        Contender { losses, imagined, ..Contender::new(self.policy, 1, &[]) }
    }

    /// Whether it was tested long enough and has won nothing.
    pub(super) fn is_given_up(&self) -> bool {
        !self.certified && self.tested >= PATIENCE && self.ln_capital <= 0.0
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
            let gain = allowed - self.imagined;
            let imagined = IMAGINED * gain / (1.0 + stake * gain);
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
        let mut contender = Contender::new(Policy::paper(1.0), 10, &[0.0; 20]);
        let mut needed = 0;
        while !contender.has_won(0.05) {
            contender.test(&outcome(0.0), 0.05);
            needed += 1;
        }
        assert!((59..=66).contains(&needed), "{needed}");
        assert_eq!((contender.agreement(), contender.cost()), (Some(1.0), 0.5));
    }

    /// For K = 1 a loss is a whole one: with nearly all staked, the first would take nearly all of the capital, and ninety
    /// requests without a loss could not make it good.
    #[test]
    fn the_first_whole_loss_does_not_ruin() {
        let mut contender = Contender::new(Policy::paper(1.0), 1, &[0.0; 24]);
        let mut needed = 0;
        while !contender.has_won(0.05) {
            contender.test(&outcome(if needed == 30 { 1.0 } else { 0.0 }), 0.05);
            needed += 1;
        }
        assert!((100..=140).contains(&needed), "{needed}");
    }

    #[test]
    fn what_wins_nothing_is_given_up_and_may_be_tested_anew() {
        let mut contender = Contender::new(Policy::paper(1.0), 1, &[0.0; 24]);
        for i in 0..PATIENCE {
            assert!(!contender.is_given_up());
            contender.test(&outcome(if i % 10 == 0 { 1.0 } else { 0.0 }), 0.05);
        }
        assert!(contender.is_given_up());
        let mut anew = contender.anew();
        assert_eq!((anew.tested, anew.agreement(), anew.has_won(0.9)), (0, None, false));
        let weight: f64 = anew.losses.iter().map(|(_, times)| times).sum();
        assert!((weight - REMEMBERED).abs() < 1e-9, "{weight}");
        (0..150).for_each(|_| anew.test(&outcome(0.0), 0.05));
        assert!(anew.has_won(0.05));
    }

    #[test]
    fn what_loses_more_than_is_allowed_is_not_bet_on() {
        let mut contender = Contender::new(Policy::paper(1.0), 10, &[0.1; 20]);
        (0..200).for_each(|_| contender.test(&outcome(0.1), 0.05));
        assert!(!contender.has_won(0.5));
        assert_eq!(contender.stake(0.05), 0.0);
    }
}
