//! Choosing the cheapest policy that is certified.

use std::ops::Range;

use crate::bound::{Test, probability};
use crate::calibrate::{FrontierPoint, PolicyRun, Sweep};
use crate::error::PruneError;
use crate::policy::Policy;
use crate::tokens::TokenPolicy;

/// The promise.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Target {
    /// P: least mean agreement@K with the full model, between 0 and 1.
    pub agreement: f64,
    /// C: probability that the promise is kept, over the draw of the sample queries, between 0 and 1.
    pub confidence: f64,
}

/// How the error is controlled over many policies; the reasons are in
/// [the module's page](mod@crate::calibrate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Procedure {
    /// Every policy at an equal share of the error. For a handful of policies without an order.
    Bonferroni,
    /// Every chain at an equal share of the error, along it to the first policy that fails. For a
    /// few chains.
    FixedSequence,
    /// The first `explore` queries put all policies into one sequence, the others test it at the
    /// full error. For large families. The queries' order must not depend on their losses; shuffle
    /// them when their file is sorted by subject.
    Split {
        /// Queries to explore with, at least 1 and less than all.
        explore: usize,
    },
}

/// A policy that was tested.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Tested {
    /// The policy.
    pub policy: Policy,
    /// Which tokens leave with it; none where all are computed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tokens: Option<TokenPolicy>,
    /// Mean agreement@K on the queries that tested it.
    pub agreement: f64,
    /// Share of candidate-layers computed on these queries.
    pub cost: f64,
    /// P-value of "its mean agreement is below the target".
    pub p_value: f64,
    /// The p-value it needed.
    pub level: f64,
    /// Lower bound of its mean agreement at that level: certified when at least the target.
    pub lower_bound: f64,
    /// Queries that would have certified it, were all like those seen; `None` when its agreement on
    /// the sample is not above the target, or more than 64 times the queries are needed.
    pub queries_needed: Option<usize>,
}

/// The result of a calibration.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Calibration {
    /// The cheapest certified policy, if any is.
    pub chosen: Option<Tested>,
    /// When none is: the tested policy with the highest lower bound.
    pub nearest_miss: Option<Tested>,
    /// The promise.
    pub target: Target,
    /// K.
    pub k: usize,
    /// The test.
    pub test: Test,
    /// How the error was shared.
    pub procedure: Procedure,
    /// Queries that tested policies (all but those explored with).
    pub test_queries: usize,
    /// The fewest test queries with which any policy could be certified, being without a loss on all
    /// of them; `None` for more than ten million.
    pub fewest_queries: Option<usize>,
    /// Policies in the family.
    pub policies: usize,
    /// Policies certified, chosen one included.
    pub certified: usize,
    /// Cost against agreement over all queries of the sample, dearest first.
    pub frontier: Vec<FrontierPoint>,
}

/// Chooses the cheapest policy of `sweep` that is certified to keep `target`.
///
/// Cost is the share of candidate-layers on the test queries; of equally cheap policies the one with the
/// higher agreement there is taken, then the first of the family. `test` is usually
/// [`Test::for_k`]`(k)`.
///
/// # Errors
/// [`PruneError::InvalidProbability`], [`PruneError::InvalidSplit`].
pub fn calibrate(
    sweep: &Sweep,
    target: Target,
    procedure: Procedure,
    test: Test,
) -> Result<Calibration, PruneError> {
    probability("the agreement", target.agreement)?;
    probability("the confidence", target.confidence)?;
    let (queries, policies) = (sweep.queries(), sweep.runs().len());
    let explored = match procedure {
        Procedure::Split { explore } if explore == 0 || explore >= queries => {
            return Err(PruneError::InvalidSplit { explore, queries });
        }
        Procedure::Split { explore } => explore,
        _ => 0,
    };
    let sequences = match procedure {
        Procedure::Bonferroni => (0..policies).map(|i| vec![i]).collect(),
        Procedure::FixedSequence => sweep.chains(),
        Procedure::Split { explore } => vec![by_falling_agreement(sweep.runs(), 0..explore)],
    };
    let judge = Judge {
        test,
        allowed: 1.0 - target.agreement,
        level: (1.0 - target.confidence) / sequences.len() as f64,
        queries: explored..queries,
    };
    let (certified, failed) = judge.walk(sweep.runs(), &sequences);
    let chosen = judge.cheapest(sweep.runs(), &certified);
    let nearest_miss = if chosen.is_some() { None } else { judge.nearest(sweep.runs(), &failed) };
    Ok(Calibration {
        chosen,
        nearest_miss,
        target,
        k: sweep.k(),
        test,
        procedure,
        test_queries: judge.queries.len(),
        fewest_queries: test.fewest_queries(judge.allowed, judge.level)?,
        policies,
        certified: certified.len(),
        frontier: sweep.frontier(),
    })
}

/// The policies that no cheaper one beats in agreement on the exploration queries, dearest first.
///
/// Of equal agreement all are kept, not only the cheapest: the careful ones are tested first, so that
/// there is something to fall back on when the cheapest looked better than it is.
fn by_falling_agreement(runs: &[PolicyRun], explored: Range<usize>) -> Vec<usize> {
    let mut order: Vec<(usize, f64, f64)> = runs
        .iter()
        .enumerate()
        .map(|(i, run)| (i, run.cost(explored.clone()), run.mean_agreement(explored.clone())))
        .collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0)));
    let mut best = f64::NEG_INFINITY;
    order.retain(|&(_, _, agreement)| {
        let kept = agreement >= best;
        best = best.max(agreement);
        kept
    });
    order.iter().rev().map(|&(i, ..)| i).collect()
}

/// One test of every policy on the same queries.
struct Judge {
    test: Test,
    allowed: f64,
    level: f64,
    queries: Range<usize>,
}

impl Judge {
    /// Walks each sequence to its first failure: (certified, failed).
    fn walk(&self, runs: &[PolicyRun], sequences: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
        let (mut certified, mut failed) = (Vec::new(), Vec::new());
        for sequence in sequences {
            for &i in sequence {
                if self.p_value(&runs[i]) > self.level {
                    failed.push(i);
                    break;
                }
                certified.push(i);
            }
        }
        (certified, failed)
    }

    fn cheapest(&self, runs: &[PolicyRun], certified: &[usize]) -> Option<Tested> {
        let key = |i: usize| {
            (runs[i].cost(self.queries.clone()), -runs[i].mean_agreement(self.queries.clone()))
        };
        let order = |&a: &usize, &b: &usize| {
            let (a_key, b_key) = (key(a), key(b));
            a_key.0.total_cmp(&b_key.0).then(a_key.1.total_cmp(&b_key.1)).then(a.cmp(&b))
        };
        certified.iter().copied().min_by(order).map(|i| self.tested(&runs[i]))
    }

    fn nearest(&self, runs: &[PolicyRun], failed: &[usize]) -> Option<Tested> {
        let tested = failed.iter().map(|&i| self.tested(&runs[i]));
        // Of equal bounds the cheaper.
        tested
            .max_by(|a, b| a.lower_bound.total_cmp(&b.lower_bound).then(b.cost.total_cmp(&a.cost)))
    }

    fn tested(&self, run: &PolicyRun) -> Tested {
        let losses = self.losses(run);
        let upper = self.test.upper_bound(&losses, 1.0 - self.level);
        Tested {
            policy: run.policy.clone(),
            tokens: run.tokens.clone(),
            agreement: run.mean_agreement(self.queries.clone()),
            cost: run.cost(self.queries.clone()),
            p_value: self.p_value(run),
            level: self.level,
            lower_bound: 1.0 - upper.expect("agreements are in [0, 1] and the level was checked"),
            queries_needed: self.queries_needed(&losses),
        }
    }

    fn queries_needed(&self, losses: &[f64]) -> Option<usize> {
        if losses.iter().sum::<f64>() >= self.allowed * losses.len() as f64 {
            return None;
        }
        (1..=64_usize)
            .find(|&times| {
                self.test.p(&losses.repeat(times), self.allowed, self.level) <= self.level
            })
            .map(|times| times * losses.len())
    }

    fn p_value(&self, run: &PolicyRun) -> f64 {
        self.test.p(&self.losses(run), self.allowed, self.level)
    }

    fn losses(&self, run: &PolicyRun) -> Vec<f64> {
        run.agreement[self.queries.clone()].iter().map(|overlap| 1.0 - overlap).collect()
    }
}
