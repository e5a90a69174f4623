//! The report.

use std::fmt::Write;

use grating::prune::{Policy, ScoreTrace};
use rayon::prelude::*;

use crate::simulate::{REQUESTS, SAMPLE, Shifted, Stream, offline, oracle, stream, truth};
use crate::{KS, Outcome, Set, TARGET};

/// K of the tables of shifts.
const SHIFTED_KS: [usize; 2] = [1, 10];
/// Of the streams, the part that is calibrated offline as well, and that is played for each pair of sets.
const PART: u64 = 10;

pub(crate) fn report(sets: &[Set], repetitions: u64) -> Outcome<String> {
    let mut out = String::new();
    let (agreement, confidence) = (TARGET.agreement, TARGET.confidence);
    let part = (repetitions / PART).max(1);
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
         of the family with all known beforehand. Offline: calibrated on the first {SAMPLE} requests, used on the others ({part} streams). Broken: \
         streams in which any policy that was used agrees less than promised. False shifts: suspicions and alarms in a stream, on average; \
         there is no shift.\n\n\
         | set | queries | K | began, median (10 %, 90 %) | never began | saved | oracle | offline | broken | offline broken | false shifts |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for set in sets {
        for k in KS {
            writeln!(out, "{}", row(set, k, repetitions, part)?)?;
            eprintln!("{}: K = {k}", set.name);
        }
    }
    for k in SHIFTED_KS {
        writeln!(
            out,
            "\n## Shifts, K = {k}\n\n\
             {REQUESTS} requests of one set, then {REQUESTS} of another, {part} streams a row. Unwatched: mean agreement on the other set of the \
             policy that was learned on the first. Watched: of all answers after the shift. Noticed: requests until a suspicion or an alarm, \
             median over the streams that raised one, and how many did; until then: mean agreement of the answers before it. Saved: \
             share of the candidate-layers after the shift.\n\n\
             | learned on | used on | unwatched | watched | noticed, median (10 %, 90 %) | streams | until then | saved |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
        )?;
        for first in sets {
            for second in sets.iter().filter(|second| second.name != first.name) {
                writeln!(out, "{}", shift(first, second, k, part)?)?;
            }
            eprintln!("{}: shifts", first.name);
        }
    }
    Ok(out)
}

fn contested(set: &Set, k: usize) -> Vec<ScoreTrace> {
    set.traces.iter().filter(|trace| trace.candidates() > k).cloned().collect()
}

fn row(set: &Set, k: usize, repetitions: u64, part: u64) -> Outcome<String> {
    let traffic = contested(set, k);
    let breaks =
        |policy: &Policy| -> Outcome<bool> { Ok(truth(policy, &traffic, k)?.0 < TARGET.agreement) };
    let streams = (0..repetitions).into_par_iter().map(|seed| stream(&traffic, None, k, seed));
    let streams = streams.collect::<Outcome<Vec<Stream>>>()?;
    let broke = streams.par_iter().map(|run| {
        let broke = run.used.iter().map(breaks).collect::<Outcome<Vec<_>>>()?;
        Ok(f64::from(u8::from(broke.contains(&true))))
    });
    let broke = broke.collect::<Outcome<Vec<f64>>>()?;
    let calibrated = (0..part).into_par_iter().map(|seed| {
        let (saved, policy) = offline(&traffic, k, seed)?;
        let broke = policy.map_or(Ok(false), |policy| breaks(&policy))?;
        Ok((saved, f64::from(u8::from(broke))))
    });
    let calibrated = calibrated.collect::<Outcome<Vec<(f64, f64)>>>()?;
    let (offline_saved, offline_broke): (Vec<f64>, Vec<f64>) = calibrated.into_iter().unzip();
    let began: Vec<usize> = streams.iter().filter_map(|run| run.began).collect();
    let never = 1.0 - began.len() as f64 / repetitions as f64;
    let saved: Vec<f64> = streams.iter().map(|run| run.saved).collect();
    let false_shifts: Vec<f64> = streams.iter().map(|run| run.false_shifts as f64).collect();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    Ok(format!(
        "| {} | {} | {k} | {} | {} | {} | {} | {} | {} | {} | {:.2} |",
        set.name,
        traffic.len(),
        quantiles(began),
        percent(never),
        percent(mean(&saved)),
        percent(oracle(&traffic, k)?),
        percent(mean(&offline_saved)),
        percent(mean(&broke)),
        percent(mean(&offline_broke)),
        mean(&false_shifts),
    ))
}

fn shift(first: &Set, second: &Set, k: usize, repetitions: u64) -> Outcome<String> {
    let (from, to) = (contested(first, k), contested(second, k));
    let streams = (0..repetitions).into_par_iter().map(|seed| stream(&from, Some(&to), k, seed));
    let streams = streams.collect::<Outcome<Vec<Stream>>>()?;
    let shifts: Vec<Shifted> = streams.into_iter().filter_map(|run| run.shifted).collect();
    let unwatched = shifts.par_iter().map(|shifted| match &shifted.policy {
        Some(policy) => Ok(truth(policy, &to, k)?.0),
        None => Ok(1.0),
    });
    let unwatched = unwatched.collect::<Outcome<Vec<f64>>>()?;
    let of = |value: fn(&Shifted) -> f64| mean(&shifts.iter().map(value).collect::<Vec<f64>>());
    let noticed: Vec<usize> = shifts.iter().filter_map(|shifted| shifted.noticed).collect();
    let count = noticed.len();
    Ok(format!(
        "| {} | {} | {:.3} | {:.3} | {} | {count} of {} | {:.3} | {:.1} % |",
        first.name,
        second.name,
        mean(&unwatched),
        of(|shifted| shifted.after),
        quantiles(noticed),
        shifts.len(),
        of(|shifted| shifted.until),
        100.0 * of(|shifted| shifted.saved),
    ))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
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
