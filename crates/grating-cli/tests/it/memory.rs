//! The promise of the budget, kept by whole processes: their largest resident set, not a counter of ours.
#![cfg(target_os = "linux")]

use serde_json::Value;

use crate::{golden, grating};

/// What a process may take on top of its budget: threads that were counted before they ran, and pages of code that only
/// some inputs need. Documented in `docs/streaming.md`.
const OVERHEAD: u64 = 8 << 20;

const MIB: u64 = 1 << 20;

fn texts(count: usize) -> Vec<u8> {
    let words = ["window", "river", "layer", "the", "glass", "slides", "of", "a", "weights"];
    let text = |i: usize| {
        let words: Vec<_> = (0..40 + i * 7 % 80).map(|j| words[(i * j + j * j) % 9]).collect();
        format!("{i} {}\n", words.join(" "))
    };
    (0..count).map(text).collect::<String>().into_bytes()
}

/// Runs within the budget; the process's peak and the plan's total, bytes. `None` if the budget was refused.
fn run(model: &[&str], budget: u64, input: &[u8], options: &[&str]) -> Option<(u64, Value)> {
    let budget = format!("{budget}");
    let args = [
        &["rerank", "-q", "which window slides", "-k", "3", "--json"][..],
        &["--memory-budget", &budget],
        model,
        options,
    ]
    .concat();
    let output = grating(&args, input);
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert!(error.contains("need at least"), "{error}");
        return None;
    }
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stats = json["stats"].clone();
    Some((stats["peak_rss_bytes"].as_u64().unwrap(), stats))
}

#[test]
fn a_process_stays_within_its_budget() {
    let qwen = golden("qwen3-tied-f32");
    let qwen = ["--model", qwen.to_str().unwrap()];
    let mut kept = 0;
    for (model, budgets) in [(&[][..], [70, 90, 120, 200]), (&qwen[..], [32, 40, 60, 100])] {
        for (candidates, options) in
            [(10, &[][..]), (100, &[][..]), (100, &["--spill", "always", "--chunk-tokens", "700"])]
        {
            for budget in budgets {
                let Some((peak, stats)) = run(model, budget * MIB, &texts(candidates), options)
                else {
                    continue;
                };
                assert!(
                    peak <= budget * MIB + OVERHEAD,
                    "{model:?}, {candidates} candidates {options:?}: peak {} of {budget} MiB: {stats:#}",
                    peak >> 20
                );
                kept += 1;
            }
        }
    }
    assert!(kept >= 16, "most budgets are enough, {kept} were");
}

#[test]
fn the_minimum_that_an_error_names_is_enough_and_is_kept() {
    let input = texts(60);
    let refused = grating(&["rerank", "-q", "window", "--memory-budget", "5MiB"], &input);
    let error = String::from_utf8(refused.stderr).unwrap();
    let bytes = error.split_once('(').unwrap().1.split_once(" bytes").unwrap().0;
    // Another process may have a few pages more when it plans.
    let budget = bytes.parse::<u64>().unwrap() + MIB;
    let (peak, _) = run(&[], budget, &input, &[]).expect("the error says that this will do");
    assert!(peak <= budget + OVERHEAD, "peak {peak} of {budget}");
}
