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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Weights {
    /// The model's own.
    Own,
    /// Its copy in blocks of 8-bit integers.
    Quantized,
}

/// Whatever else is said, nothing is pruned.
const NO_PRUNE: &str = "--no-prune";
/// A pass over every layer for every candidate.
const FULL: &[&str] = &[NO_PRUNE];
/// All weights and embedding rows in memory.
pub(super) const RESIDENT: &[&str] = &["--window", "all", "--row-cache", "all", "--spill", "never"];
/// Two layers in memory, and all embedding rows.
pub(super) const STREAMED: &[&str] = &["--window", "2", "--row-cache", "all", "--spill", "never"];
/// Two layers and a tenth of the embedding rows in memory.
pub(super) const LEAN: &[&str] = &["--window", "2", "--row-cache", "10%"];
/// Products of 8-bit integers.
pub(super) const INT8: &[&str] = &["--precision", "fast"];

impl Setting {
    pub(super) fn new(name: impl Into<String>, flags: &[&[&str]]) -> Self {
        let flags = flags.concat().into_iter().map(str::to_owned).collect();
        Self { name: name.into(), flags, weights: Weights::Own }
    }

    /// Whether it selects what the full pass selects, to the bit: it only runs it otherwise.
    pub(super) fn is_full_pass(&self) -> bool {
        self.weights == Weights::Own && self.flags.iter().any(|flag| flag == NO_PRUNE)
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

/// The settings of the first table, by the operating points of the model's own weights; then the same with quantized
/// weights and products, by theirs.
pub(super) fn micro(own: &Points, quantized: &Points) -> Vec<Setting> {
    let by = |points: &Points| {
        [
            full_resident(),
            full_streamed(),
            pruned(PRECISION_FIRST, &points.precision_first.policy),
            pruned(LATENCY_FIRST, &points.latency_first.policy),
        ]
    };
    let int8 = |s: Setting| Setting {
        weights: Weights::Quantized,
        ..s.with(format!("{}, quantized", s.name), INT8)
    };
    by(own).into_iter().chain(by(quantized).map(int8)).collect()
}

/// Names of the two operating points.
pub(super) const PRECISION_FIRST: &str = "pruned, precision-first";
pub(super) const LATENCY_FIRST: &str = "pruned, latency-first";
