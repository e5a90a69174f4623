//! Replay: what a policy would have done on a recorded trace, exactly, at no model cost.

use crate::error::PruneError;
use crate::policy::Policy;
use crate::pruner::{Pool, Pruner};
use crate::trace::ScoreTrace;
use crate::verdict::Verdicts;

/// The result of pruning one query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Outcome {
    /// The selected candidates, min(K, N) of them: by layer of acceptance, within a layer best first.
    pub selected: Vec<usize>,
    /// For each candidate the layer after which it was decided; `None` when that was before the first
    /// layer (N ≤ K).
    pub decided_after_layer: Vec<Option<usize>>,
    /// Layers run, summed over candidates: the work. Without pruning N × layers.
    pub candidate_layers: u64,
    /// Layers that at least one candidate needed: the weights to be read. Without pruning all.
    pub layers_run: usize,
}

/// Runs `policy` over a trace as if the model were computing.
///
/// With N ≤ K nobody is scored: in [`Mode::Select`](crate::Mode::Select) no layer runs.
///
/// # Errors
/// An invalid policy or K = 0.
pub fn replay(policy: &Policy, trace: &ScoreTrace, k: usize) -> Result<Outcome, PruneError> {
    replay_with(policy, trace, k, |_| {})
}

/// As [`replay`], and shows the verdicts after each layer that the policy looks at.
///
/// # Errors
/// As [`replay`].
pub fn replay_with(
    policy: &Policy,
    trace: &ScoreTrace,
    k: usize,
    mut each: impl FnMut(&Verdicts),
) -> Result<Outcome, PruneError> {
    let (candidates, layers) = (trace.candidates(), trace.layers());
    let mut pruner = Pruner::new(policy.clone(), Pool { candidates, layers, k })?;
    let (mut live, mut scores) = (Vec::new(), Vec::new());
    while let Some(layer) = pruner.next_due() {
        let row = trace.layer(layer);
        live.clear();
        live.extend(pruner.live());
        scores.clear();
        scores.extend(live.iter().map(|&c| row[c]));
        each(&pruner.observe(layer, &live, &scores)?);
    }
    Ok(pruner.outcome())
}
