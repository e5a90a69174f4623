//! Memory budgets: the least that the planner takes, and what holds a whole model.

use anyhow::{Result, bail};
use serde_json::json;

use super::Bench;
use super::child;
use super::measure::LIMIT;
use super::model::Model;
use super::settings::Weights;

/// What a process takes beside its weights where they are all in memory, bytes.
const BESIDE_WEIGHTS: u64 = 128 << 20;
pub(super) const MIB: u64 = 1 << 20;

/// About what a process takes that holds all weights, MiB.
pub(super) fn resident(model: &Model) -> u64 {
    (model.weight_bytes() + BESIDE_WEIGHTS) / MIB
}

impl Bench {
    /// The least budget in MiB that the planner takes for such a pool, and a fiftieth, as texts take a little more or
    /// less than a plan assumes. It is kept as a cell: what a process takes before it plans differs a little from
    /// time to time.
    pub(super) fn least_budget(
        &self,
        model: &Model,
        weights: Weights,
        candidates: usize,
        tokens: usize,
    ) -> Result<u64> {
        self.progress.set_message(format!("{}: least budget", model.name));
        let key = json!({
            "binary": self.binary.digest, "machine": self.machine.shown(), "model": model,
            "planted": model.planted_as(), "weights": weights, "candidates": candidates,
            "tokens": tokens, "threads": self.args.threads(),
        });
        self.cells.get_or("least", key, || {
            let planned = |mib| self.plans(model, weights, candidates, tokens, mib * MIB);
            let least = least(resident(model), planned)?;
            Ok(least + least.div_ceil(50))
        })
    }

    /// Whether the planner takes a budget in bytes for such a pool.
    fn plans(
        &self,
        model: &Model,
        weights: Weights,
        candidates: usize,
        tokens: usize,
        budget: u64,
    ) -> Result<bool> {
        let mut command = self.binary.command(&["plan", "--json"]);
        command.args(self.opening(model, weights)?);
        let shape = ["--candidates", &candidates.to_string(), "--tokens", &tokens.to_string()];
        command.args(shape).args(["--memory-budget", &budget.to_string()]);
        command.args(["--threads", &self.args.threads().to_string()]);
        let finished = child::run(command, b"", LIMIT)?;
        if !finished.status.success() && !finished.stderr.contains("budget") {
            bail!("{}", finished.stderr.trim());
        }
        Ok(finished.status.success())
    }
}

/// The least budget that is planned with, by halving; `highest` where none below it is.
fn least(highest: u64, mut planned: impl FnMut(u64) -> Result<bool>) -> Result<u64> {
    let (mut refused, mut taken) = (0, highest);
    while taken - refused > 1 {
        let middle = refused.midpoint(taken);
        if planned(middle)? {
            taken = middle;
        } else {
            refused = middle;
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_budget_is_found_by_halving() {
        let mut calls = 0;
        let found = least(1000, |budget| {
            calls += 1;
            Ok(budget >= 93)
        });
        assert_eq!((found.unwrap(), calls), (93, 10));
        assert_eq!(least(50, |_| Ok(false)).unwrap(), 50);
    }
}
