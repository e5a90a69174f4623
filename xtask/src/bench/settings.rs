//! Ways to run GRATING that the tables compare, as options of its command line.

use grating_prune::Policy;
use serde::Serialize;

use super::points::Points;

/// One way to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) flags: Vec<String>,
    pub(super) weights: Weights,
}

/// Whose weights are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(super) enum Weights {
    /// The model's own.
    Own,
    /// Its copy in blocks of 8-bit integers.
    Quantized,
}

/// Whatever else is said, nothing is pruned.
const NO_PRUNE: &str = "--no-prune";
const BUDGET: &str = "--memory-budget";
const PRECISION: &str = "--precision";
/// A pass over every layer for every candidate.
const FULL: &[&str] = &[NO_PRUNE];
/// All weights and embedding rows in memory.
pub(super) const RESIDENT: &[&str] = &["--window", "all", "--row-cache", "all", "--spill", "never"];
/// Two layers in memory, and all embedding rows.
pub(super) const STREAMED: &[&str] = &["--window", "2", "--row-cache", "all", "--spill", "never"];
/// Two layers and a tenth of the embedding rows in memory.
pub(super) const LEAN: &[&str] = &["--window", "2", "--row-cache", "10%"];
/// Products of 8-bit integers, or of bfloat16 where they are as fast.
pub(super) const FAST: &[&str] = &[PRECISION, "fast"];

impl Setting {
    pub(super) fn new(name: impl Into<String>, flags: &[&[&str]]) -> Self {
        let flags = flags.concat().into_iter().map(str::to_owned).collect();
        Self { name: name.into(), flags, weights: Weights::Own }
    }

    /// Whether it selects what another setting does, to the bit, and only runs it otherwise: a full pass, or
    /// what is pruned within a budget.
    pub(super) fn is_another_way(&self) -> bool {
        let has = |option: &str| self.flags.iter().any(|flag| flag == option);
        let exact = self.weights == Weights::Own && !has(PRECISION);
        (exact && has(NO_PRUNE)) || has(BUDGET)
    }

    /// The same without a window of its own: the planner chooses within the budget.
    pub(super) fn within(&self, bytes: u64) -> Self {
        let mut flags = Vec::new();
        let mut given = self.flags.iter();
        while let Some(flag) = given.next() {
            match flag.as_str() {
                "--window" | "--row-cache" => drop(given.next()),
                _ => flags.push(flag.clone()),
            }
        }
        flags.extend([BUDGET.to_owned(), format!("{}MiB", bytes >> 20)]);
        Self { name: self.name.replace(", streamed", ""), flags, ..self.clone() }
    }

    /// The same with more options.
    pub(super) fn with(&self, name: impl Into<String>, flags: &[&str]) -> Self {
        let mut all = self.flags.clone();
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        Self { name: name.into(), flags: all, weights: self.weights }
    }
}

/// The full pass as the planner chooses to run it.
pub(super) fn full() -> Setting {
    Setting::new("full", &[FULL])
}

/// The full pass, the weights in memory.
pub(super) fn full_resident() -> Setting {
    Setting::new("full, resident", &[FULL, RESIDENT])
}

/// The full pass in as little memory as streaming takes.
pub(super) fn full_streamed() -> Setting {
    Setting::new("full, streamed", &[FULL, LEAN])
}

/// Streamed and pruned by a policy.
pub(super) fn pruned(name: impl Into<String>, policy: &Policy) -> Setting {
    let policy = policy_json(policy);
    Setting::new(name, &[&["--policy", &policy], LEAN])
}

/// A policy as the command line takes it.
pub(super) fn policy_json(policy: &Policy) -> String {
    serde_json::to_string(policy).expect("a policy has finite numbers and plain names")
}

/// The settings of the first table, by the operating points of the model's own weights and within their least
/// budget in bytes, with one in fast precision; then those with quantized weights in fast precision, by theirs.
pub(super) fn micro(own: (&Points, u64), quantized: (&Points, u64)) -> Vec<Setting> {
    let by = |(points, budget): (&Points, u64)| {
        let careful = pruned(PRECISION_FIRST, &points.precision_first.policy);
        let least = Setting { name: LEAST_MEMORY.to_owned(), ..careful.within(budget) };
        [
            full_resident(),
            full_streamed(),
            careful,
            least,
            pruned(LATENCY_FIRST, &points.latency_first.policy),
        ]
    };
    let fast_copy = |s: Setting| Setting {
        weights: Weights::Quantized,
        ..s.with(format!("{}, quantized", s.name), FAST)
    };
    let own = [Setting::new("full, fast", &[FULL, FAST])].into_iter().chain(by(own));
    own.chain(by(quantized).map(fast_copy)).collect()
}

/// Names of the two operating points.
pub(super) const PRECISION_FIRST: &str = "pruned, precision-first";
pub(super) const LATENCY_FIRST: &str = "pruned, latency-first";
/// The first of them within the least budget.
const LEAST_MEMORY: &str = "pruned, precision-first, least memory";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_replaces_the_window() {
        let policy = Policy::paper(0.5);
        let within = pruned("pruned, streamed", &policy).within(200 << 20);
        let json = policy_json(&policy);
        assert_eq!(within.name, "pruned");
        assert_eq!(within.flags, ["--policy", &json, "--memory-budget", "200MiB"]);
        assert!(within.is_another_way() && full_streamed().is_another_way());
        assert!(!pruned("pruned", &policy).is_another_way());
        assert!(!full().with("full, fast", FAST).is_another_way());
    }
}
