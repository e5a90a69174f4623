//! The report.

use std::fmt::Write;

use grating::prune::{Policy, ScoreTrace};
use rayon::prelude::*;

use crate::shifts::{After, Change, DRIFT, Pair, given, learning, policy_of};
use crate::simulate::{REQUESTS, SAMPLE, Stream, offline, oracle, stream, truth, truths};
use crate::{KS, Outcome, Set, TARGET};

/// K of the tables of shifts.
const SHIFTED_KS: [usize; 2] = [1, 10];
/// Of the streams, the part that is calibrated offline as well, and that is played on for each pair of sets.
const PART: u64 = 5;
/// Requests of its own kind that a profile is used on before they change.
const SETTLED: usize = 500;

/// Rows of the tables, in the order of the report.
#[derive(Default)]
struct Rows {
    stable: Vec<String>,
    /// For each of [`SHIFTED_KS`].
    shifts: [Vec<String>; 2],
    drifts: [Vec<String>; 2],
    profiles: [Vec<String>; 2],
    kept: Vec<String>,
}

pub(crate) fn report(sets: &[Set], repetitions: u64) -> Outcome<String> {
    let mut rows = Rows::default();
    for set in sets {
        for k in KS {
            of_set(&mut rows, sets, set, k, repetitions)?;
            eprintln!("{}: K = {k}", set.name);
        }
    }
    Ok(written(&rows, repetitions)?)
}

/// Everything that begins with one set's traffic.
fn of_set(rows: &mut Rows, sets: &[Set], set: &Set, k: usize, repetitions: u64) -> Outcome<()> {
    let traffic = contested(set, k);
    let streams = (0..repetitions).into_par_iter().map(|seed| stream(&traffic, k, seed));
    let streams = streams.collect::<Outcome<Vec<Stream>>>()?;
    let part = (repetitions / PART).max(1);
    let profiles = (0..part).into_par_iter().map(|seed| offline(&traffic, k, seed));
    let profiles = profiles.collect::<Outcome<Vec<Option<Policy>>>>()?;
    rows.stable.push(stable(set, &traffic, k, &streams, &profiles)?);
    let Some(table) = SHIFTED_KS.iter().position(|&shifted| shifted == k) else { return Ok(()) };
    rows.kept.push(kept(set, &traffic, k, &profiles)?);
    let streams = &streams[..profiles.len()];
    for other in sets.iter().filter(|other| other.name != set.name) {
        let to = contested(other, k);
        let pair = Pair::new(&traffic, &to);
        let names = format!("| {} | {} |", set.name, other.name);
        let at_once = played(streams, &pair, Change::AtOnce, k)?;
        let unwatched = unwatched(streams.iter().map(|run| policy_of(&run.learner)), &to, k)?;
        rows.shifts[table].push(format!("{names} {unwatched:.3} | {} |", cells(&at_once)));
        let slowly = played(streams, &pair, Change::Slowly, k)?;
        rows.drifts[table].push(format!("{names} {} |", cells(&slowly)));
        rows.profiles[table].push(format!("{names} {}", profile(&profiles, &pair, &to, k)?));
    }
    Ok(())
}

fn contested(set: &Set, k: usize) -> Vec<ScoreTrace> {
    set.traces.iter().filter(|trace| trace.candidates() > k).cloned().collect()
}

fn stable(
    set: &Set,
    traffic: &[ScoreTrace],
    k: usize,
    streams: &[Stream],
    profiles: &[Option<Policy>],
) -> Outcome<String> {
    let broke = streams.par_iter().map(|run| {
        let truths = truths(&run.used, traffic, k)?;
        Ok(f64::from(u8::from(truths.iter().any(|(agreement, _)| *agreement < TARGET.agreement))))
    });
    let broke = broke.collect::<Outcome<Vec<f64>>>()?;
    let calibrated = profiles.par_iter().map(|policy| {
        let Some(policy) = policy else { return Ok((0.0, 0.0)) };
        let (agreement, cost) = truth(policy, traffic, k)?;
        let saved = (1.0 - cost) * (REQUESTS - SAMPLE) as f64 / REQUESTS as f64;
        Ok((saved, f64::from(u8::from(agreement < TARGET.agreement))))
    });
    let calibrated = calibrated.collect::<Outcome<Vec<(f64, f64)>>>()?;
    let (offline_saved, offline_broke): (Vec<f64>, Vec<f64>) = calibrated.into_iter().unzip();
    let began: Vec<usize> = streams.iter().filter_map(|run| run.began).collect();
    let never = 1.0 - began.len() as f64 / streams.len() as f64;
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
        percent(oracle(traffic, k)?),
        percent(mean(&offline_saved)),
        percent(mean(&broke)),
        percent(mean(&offline_broke)),
        mean(&false_shifts),
    ))
}

fn played(streams: &[Stream], pair: &Pair, change: Change, k: usize) -> Outcome<Vec<After>> {
    streams.par_iter().map(|run| learning(run, pair, change, k)).collect()
}

/// Mean agreement of these policies with the full model on a traffic, everything computed where there is none.
fn unwatched(
    policies: impl Iterator<Item = Option<Policy>>,
    traffic: &[ScoreTrace],
    k: usize,
) -> Outcome<f64> {
    let policies: Vec<Option<Policy>> = policies.collect();
    let some: Vec<Policy> = policies.iter().flatten().cloned().collect();
    let agreements: f64 = truths(&some, traffic, k)?.iter().map(|(agreement, _)| agreement).sum();
    Ok((agreements + (policies.len() - some.len()) as f64) / policies.len() as f64)
}

/// Watched, noticed, by how many, until then, saved.
fn cells(runs: &[After]) -> String {
    let of = |value: fn(&After) -> f64| mean(&runs.iter().map(value).collect::<Vec<f64>>());
    let noticed: Vec<usize> = runs.iter().filter_map(|after| after.noticed).collect();
    let share = 100.0 * noticed.len() as f64 / runs.len() as f64;
    format!(
        "{:.3} | {} | {share:.1} % | {:.3} | {:.1} %",
        of(|after| after.all),
        quantiles(noticed),
        of(|after| after.until),
        100.0 * of(|after| after.saved)
    )
}

/// Profiles of one set on another, from the first request on and after requests of their own kind.
fn profile(
    profiles: &[Option<Policy>],
    pair: &Pair,
    to: &[ScoreTrace],
    k: usize,
) -> Outcome<String> {
    let some: Vec<Policy> = profiles.iter().flatten().cloned().collect();
    if some.is_empty() {
        return Ok("none certified | | | | | | | | | |".into());
    }
    let unwatched = unwatched(some.iter().cloned().map(Some), to, k)?;
    let play = |first: usize, known: bool| {
        let seeded = some.par_iter().enumerate();
        let runs = seeded.map(|(seed, policy)| given(policy, pair, first, k, seed as u64, known));
        runs.map(|run| Ok(run?.0)).collect::<Outcome<Vec<After>>>()
    };
    let (audited, at_once, later) = (play(0, false)?, play(0, true)?, play(SETTLED, true)?);
    let short = |runs: &[After]| {
        let noticed: Vec<usize> = runs.iter().filter_map(|after| after.noticed).collect();
        let share = 100.0 * noticed.len() as f64 / runs.len() as f64;
        let all: Vec<f64> = runs.iter().map(|after| after.all).collect();
        let saved: Vec<f64> = runs.iter().map(|after| 100.0 * after.saved).collect();
        let (all, saved) = (mean(&all), mean(&saved));
        format!("{all:.3} | {}, {share:.0} % | {saved:.1} %", quantiles(noticed))
    };
    let [audited, at_once, later] = [&audited, &at_once, &later].map(|runs| short(runs));
    Ok(format!("{unwatched:.3} | {audited} | {at_once} | {later} |"))
}

/// Profiles of a set on its own traffic: how often they are put out of use without need.
fn kept(
    set: &Set,
    traffic: &[ScoreTrace],
    k: usize,
    profiles: &[Option<Policy>],
) -> Outcome<String> {
    let pair = Pair::new(traffic, traffic);
    let some: Vec<&Policy> = profiles.iter().flatten().collect();
    let runs = some.par_iter().enumerate().map(|(seed, policy)| {
        let (after, before) = given(policy, &pair, REQUESTS, k, seed as u64, true)?;
        Ok((before + u64::from(after.noticed.is_some()), after.all, after.saved))
    });
    let runs = runs.collect::<Outcome<Vec<(u64, f64, f64)>>>()?;
    let out = runs.iter().filter(|(times, ..)| *times > 0).count();
    let agreement = mean(&runs.iter().map(|run| run.1).collect::<Vec<f64>>());
    let saved = mean(&runs.iter().map(|run| run.2).collect::<Vec<f64>>());
    let (name, count) = (&set.name, runs.len());
    Ok(format!("| {name} | {k} | {count} | {out} | {agreement:.3} | {:.1} % |", 100.0 * saved))
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

fn written(rows: &Rows, repetitions: u64) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let (agreement, confidence) = (TARGET.agreement, TARGET.confidence);
    let part = (repetitions / PART).max(1);
    writeln!(
        out,
        "# Learning from the traffic, simulated\n\n\
         Made by `cargo run --release -p grating --example learning_report -- simulate`. Streams of {REQUESTS} requests drawn \
         with replacement from a set's queries, {repetitions} streams a row of the first table and {part} of the others, promise {agreement} with confidence {confidence}, scores of the \
         default model. What a policy does on the traffic is its mean over the set's queries.\n\n\
         ## When it begins, what it saves\n\n\
         Saved: share of the candidate-layers of all {REQUESTS} requests, those that explore, test and audit included. Oracle: the best policy \
         of the family with all known beforehand. Offline: calibrated on the first {SAMPLE} requests, used on the others ({part} streams). Broken: \
         streams in which any policy that was used agrees less than promised. False shifts: suspicions and alarms in a stream, on average; \
         there is no shift.\n\n\
         | set | queries | K | began, median (10 %, 90 %) | never began | saved | oracle | offline | broken | offline broken | false shifts |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n{}",
        rows.stable.join("\n")
    )?;
    for (k, table) in SHIFTED_KS.iter().zip(&rows.shifts) {
        writeln!(
            out,
            "\n## Shifts, K = {k}\n\n\
             {REQUESTS} requests of one set, then {REQUESTS} of another. Unwatched: mean agreement on the other set of the \
             policy that was learned on the first. Watched: of all answers after the shift. Noticed: requests until a suspicion or an alarm, \
             median over the streams that raised one, and how many did; until then: mean agreement of the answers before it. Saved: \
             share of the candidate-layers after the shift.\n\n\
             | learned on | used on | unwatched | watched | noticed, median (10 %, 90 %) | streams | until then | saved |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n{}",
            table.join("\n")
        )?;
    }
    for (k, table) in SHIFTED_KS.iter().zip(&rows.drifts) {
        writeln!(
            out,
            "\n## Slow drift, K = {k}\n\n\
             {REQUESTS} requests of one set, then {REQUESTS} of which the share of another grows from none to all over the first {DRIFT}. Columns \
             as above, counted from where the drift begins.\n\n\
             | learned on | moves to | watched | noticed, median (10 %, 90 %) | streams | until then | saved |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n{}",
            table.join("\n")
        )?;
    }
    profiles_written(&mut out, rows)?;
    Ok(out)
}

fn profiles_written(out: &mut String, rows: &Rows) -> std::fmt::Result {
    for (k, table) in SHIFTED_KS.iter().zip(&rows.profiles) {
        writeln!(
            out,
            "\n## Profiles on another traffic, K = {k}\n\n\
             Calibrated on {SAMPLE} requests of one set, used on another with audits as they are by default. Unwatched: mean agreement of the profile there. By audits: the process sees nothing but \
             the other set, {REQUESTS} requests, and does not know what those of the sample looked like (profiles that ship with a model). With the sample: it knows. Later: after {SETTLED} requests of \
             its own set. \
             Watched: mean agreement of all {REQUESTS} answers; noticed: requests until the profile is put out of use, median (10 %, 90 %) over \
             the streams where it is, and how many these are; saved: share of their candidate-layers.\n\n\
             | calibrated on | used on | unwatched | by audits: watched | noticed | saved | with the sample: watched | noticed | saved | later: watched | noticed | saved |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n{}",
            table.join("\n")
        )?;
    }
    writeln!(
        out,
        "\n## Profiles on their own traffic\n\n\
         {} requests of the set that the profile was calibrated on. Out of use: streams in which it was put out of use; there is no shift. Agreement \
         and saved: of the second {REQUESTS} answers.\n\n\
         | set | K | streams | out of use | agreement | saved |\n| --- | ---: | ---: | ---: | ---: | ---: |\n{}",
        2 * REQUESTS,
        rows.kept.join("\n")
    )
}
