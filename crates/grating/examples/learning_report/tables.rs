//! The report.

use std::fmt::Write;

use grating::prune::Policy;

use crate::simulate::{REQUESTS, SAMPLE, Shifted, offline, oracle, stream, truth};
use crate::{KS, Outcome, Set, TARGET};

/// K of the tables of shifts.
const K: usize = 10;

pub(crate) fn report(sets: &[Set], repetitions: u64) -> Outcome<String> {
    let mut out = String::new();
    let (agreement, confidence) = (TARGET.agreement, TARGET.confidence);
    writeln!(
        out,
        "# Learning from the traffic, simulated\n\n\
         Made by `cargo run --release -p grating --example learning_report -- simulate`. Streams of {REQUESTS} requests drawn \
         with replacement from a set's queries, {repetitions} streams a row, promise {agreement} with confidence {confidence}, scores of the \
         default model. What a policy does on the traffic is its mean over the set's queries.\n"
    )?;
    writeln!(
        out,
        "## When it begins, what it saves\n\n\
         Saved: share of the candidate-layers of all {REQUESTS} requests, those that explore, test and audit included. Oracle: the best policy \
         of the family with all known beforehand. Offline: calibrated on the first {SAMPLE} requests, used on the others. Broken: \
         streams in which any policy that was used agrees less than promised.\n\n\
         | set | queries | K | began, median (10 %, 90 %) | never began | saved | oracle | offline | broken | offline broken |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for set in sets {
        for k in KS {
            writeln!(out, "{}", row(set, k, repetitions)?)?;
            eprintln!("{}: K = {k}", set.name);
        }
    }
    writeln!(
        out,
        "\n## Shifts\n\n\
         {REQUESTS} requests of one set, then {REQUESTS} of another, K = {K}. Unwatched: mean agreement on the other set of the policy that \
         was learned on the first. Watched: of all answers after the shift. Noticed: requests until the alarm, median over the streams that \
         raised one, and how many did; until then: mean agreement of the answers before it. A policy that keeps the promise on the \
         other set as well gives nothing to notice.\n\n\
         | learned on | used on | unwatched | watched | noticed | streams | until then |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for first in sets {
        for second in sets.iter().filter(|second| second.name != first.name) {
            writeln!(out, "{}", shift(first, second, repetitions)?)?;
        }
        eprintln!("{}: shifts", first.name);
    }
    Ok(out)
}

fn row(set: &Set, k: usize, repetitions: u64) -> Outcome<String> {
    let contested: Vec<_> = set.traces.iter().filter(|t| t.candidates() > k).cloned().collect();
    let (mut began, mut saved, mut broken) = (Vec::new(), 0.0, 0);
    let (mut offline_saved, mut offline_broken) = (0.0, 0);
    for seed in 0..repetitions {
        let run = stream(&contested, None, k, seed)?;
        began.extend(run.began);
        saved += run.saved;
        let breaks = |policy: &Policy| -> Outcome<bool> {
            Ok(truth(policy, &contested, k)?.0 < TARGET.agreement)
        };
        let broke = run.used.iter().map(breaks).collect::<Outcome<Vec<_>>>()?;
        broken += u32::from(broke.contains(&true));
        let (saved, policy) = offline(&contested, k, seed)?;
        offline_saved += saved;
        offline_broken += u32::from(policy.map_or(Ok(false), |policy| breaks(&policy))?);
    }
    let all = repetitions as f64;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let never = repetitions as usize - began.len();
    Ok(format!(
        "| {} | {} | {k} | {} | {} | {} | {} | {} | {} | {} |",
        set.name,
        contested.len(),
        quantiles(began),
        percent(never as f64 / all),
        percent(saved / all),
        percent(oracle(&contested, k)?),
        percent(offline_saved / all),
        percent(f64::from(broken) / all),
        percent(f64::from(offline_broken) / all),
    ))
}

fn shift(first: &Set, second: &Set, repetitions: u64) -> Outcome<String> {
    let contested = |set: &Set| -> Vec<_> {
        set.traces.iter().filter(|t| t.candidates() > K).cloned().collect()
    };
    let (from, to) = (contested(first), contested(second));
    let mut shifts = Vec::<Shifted>::new();
    // A tenth of the streams says enough of a median.
    for seed in 0..(repetitions / 10).max(1) {
        shifts.extend(stream(&from, Some(&to), K, seed)?.shifted);
    }
    let policies = shifts.iter().filter_map(|shifted| shifted.policy.as_ref());
    let unwatched = policies.map(|policy| truth(policy, &to, K).map(|(agreement, _)| agreement));
    let unwatched = unwatched.collect::<Outcome<Vec<f64>>>()?;
    let mean = |values: &[f64]| match values.len() {
        0 => "–".to_owned(),
        n => format!("{:.3}", values.iter().sum::<f64>() / n as f64),
    };
    let of = |value: fn(&Shifted) -> f64| shifts.iter().map(value).collect::<Vec<f64>>();
    let noticed: Vec<usize> = shifts.iter().filter_map(|shifted| shifted.noticed).collect();
    let count = noticed.len();
    let at = if noticed.is_empty() { "–".to_owned() } else { quantiles(noticed) };
    Ok(format!(
        "| {} | {} | {} | {} | {at} | {count} of {} | {} |",
        first.name,
        second.name,
        mean(&unwatched),
        mean(&of(|shifted| shifted.after)),
        shifts.len(),
        mean(&of(|shifted| shifted.until)),
    ))
}

/// Median, with the tenth and the ninetieth percentile.
fn quantiles(mut values: Vec<usize>) -> String {
    if values.is_empty() {
        return "–".into();
    }
    values.sort_unstable();
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    format!("{} ({}, {})", at(0.5), at(0.1), at(0.9))
}
