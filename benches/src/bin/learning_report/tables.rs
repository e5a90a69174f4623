//! The report.

use std::fmt::Write;

use grating::prune::{Policy, ScoreTrace};
use rayon::prelude::*;

use crate::shifts::{After, Change, DRIFT, Given, given, learning, policy_of};
use crate::simulate::{Known, REQUESTS, SAMPLE, Stream, offline, oracle, stream, truth, truths};
use crate::{KS, Outcome, Set, TARGET, Traffics};

/// K of the tables of shifts.
const SHIFTED_KS: [usize; 2] = [1, 10];
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
    for k in KS {
        let traffics = Traffics::of(sets, k);
        for (number, set) in sets.iter().enumerate() {
            of_set(&mut rows, &traffics, number, repetitions)?;
            eprintln!("{}: K = {k}", set.name);
        }
    }
    rows.stable = by_set(&rows.stable, KS.len());
    rows.kept = by_set(&rows.kept, SHIFTED_KS.len());
    let dates = grating_benches::dates(sets.iter().map(|set| &set.file));
    Ok(written(&rows, repetitions, &dates)?)
}

/// Rows of so many K, those of one K together, in the order of the sets.
fn by_set(rows: &[String], ks: usize) -> Vec<String> {
    let sets = rows.len() / ks;
    (0..rows.len()).map(|row| rows[row % ks * sets + row / ks].clone()).collect()
}

/// The sets whose requests may follow, for K of the tables of shifts.
fn others(traffics: &Traffics, set: usize) -> impl Iterator<Item = usize> + use<> {
    let shifted = SHIFTED_KS.contains(&traffics.k);
    (0..traffics.sets.len()).filter(move |&other| shifted && other != set)
}

/// A stream of one set's requests, and how it goes on with those of each other set: at once, slowly.
struct Learned {
    stream: Stream,
    shifted: Vec<[After; 2]>,
}

impl Learned {
    fn run(traffics: &Traffics, set: usize, seed: u64) -> Outcome<Self> {
        let mut known = Known::new(&traffics.requests, traffics.k);
        let stream = stream(&mut known, &traffics.sets[set].1, seed)?;
        let mut shifted = Vec::new();
        for other in others(traffics, set) {
            let pair = traffics.pair(set, other);
            let mut play = |change| learning(&stream, &mut known, &pair, change);
            shifted.push([play(Change::AtOnce)?, play(Change::Slowly)?]);
        }
        Ok(Learned { stream, shifted })
    }
}

/// A profile of one set, and what becomes of it.
struct Calibrated {
    policy: Policy,
    /// On each other set: audits alone, with its sample known, after requests of its own kind.
    shifted: Vec<[After; 3]>,
    /// On its own set: how often it is put out of use, and the later answers.
    kept: Option<(u64, After)>,
}

impl Calibrated {
    /// None where nothing is certified.
    fn run(traffics: &Traffics, set: usize, seed: u64) -> Outcome<Option<Self>> {
        let Some(policy) = offline(traffics.requests(set), traffics.k, seed)? else {
            return Ok(None);
        };
        let mut calibrated = Calibrated { policy, shifted: Vec::new(), kept: None };
        if SHIFTED_KS.contains(&traffics.k) {
            let (policy, mut known) =
                (&calibrated.policy, Known::new(&traffics.requests, traffics.k));
            let unknown = Given::without_sample(policy);
            let sampled = Given::with_sample(policy, &mut known, &traffics.sets[set].1)?;
            for other in others(traffics, set) {
                let pair = traffics.pair(set, other);
                let mut play = |profile, first| -> Outcome<After> {
                    Ok(given(profile, &mut known, &pair, first, seed)?.0)
                };
                let played = [play(&unknown, 0)?, play(&sampled, 0)?, play(&sampled, SETTLED)?];
                calibrated.shifted.push(played);
            }
            let own = traffics.pair(set, set);
            let (after, before) = given(&sampled, &mut known, &own, REQUESTS, seed)?;
            calibrated.kept = Some((before + u64::from(after.noticed.is_some()), after));
        }
        Ok(Some(calibrated))
    }
}

/// Everything that begins with one set's traffic.
fn of_set(rows: &mut Rows, traffics: &Traffics, set: usize, repetitions: u64) -> Outcome<()> {
    let k = traffics.k;
    let learned = (0..repetitions).into_par_iter().map(|seed| Learned::run(traffics, set, seed));
    let learned = learned.collect::<Outcome<Vec<Learned>>>()?;
    let calibrated =
        (0..repetitions).into_par_iter().map(|seed| Calibrated::run(traffics, set, seed));
    let calibrated = calibrated.collect::<Outcome<Vec<Option<Calibrated>>>>()?;
    rows.stable.push(stable(traffics, set, &learned, &calibrated)?);
    let Some(table) = SHIFTED_KS.iter().position(|&shifted| shifted == k) else { return Ok(()) };
    let some: Vec<&Calibrated> = calibrated.iter().flatten().collect();
    rows.kept.push(kept(&traffics.sets[set].0, k, &some));
    for (place, other) in others(traffics, set).enumerate() {
        let to = traffics.requests(other);
        let names = format!("| {} | {} |", traffics.sets[set].0, traffics.sets[other].0);
        let policies: Vec<Option<Policy>> =
            learned.iter().map(|run| policy_of(&run.stream.learner)).collect();
        let unwatched = unwatched(&policies, to, k)?;
        let after = |change: usize| {
            cells(&learned.iter().map(|run| &run.shifted[place][change]).collect::<Vec<_>>())
        };
        rows.shifts[table].push(format!("{names} {unwatched:.3} | {} |", after(0)));
        rows.drifts[table].push(format!("{names} {} |", after(1)));
        rows.profiles[table].push(format!("{names} {}", profile(&some, place, to, k)?));
    }
    Ok(())
}

fn stable(
    traffics: &Traffics,
    set: usize,
    learned: &[Learned],
    calibrated: &[Option<Calibrated>],
) -> Outcome<String> {
    let (k, traffic) = (traffics.k, traffics.requests(set));
    let broke = learned.par_iter().map(|run| {
        let truths = truths(&run.stream.used, traffic, k)?;
        Ok(f64::from(u8::from(truths.iter().any(|(agreement, _)| *agreement < TARGET.agreement))))
    });
    let broke = broke.collect::<Outcome<Vec<f64>>>()?;
    let offline = calibrated.par_iter().map(|profile| {
        let Some(Calibrated { policy, .. }) = profile else { return Ok((0.0, 0.0)) };
        let (agreement, cost) = truth(policy, traffic, k)?;
        let saved = (1.0 - cost) * (REQUESTS - SAMPLE) as f64 / REQUESTS as f64;
        Ok((saved, f64::from(u8::from(agreement < TARGET.agreement))))
    });
    let offline = offline.collect::<Outcome<Vec<(f64, f64)>>>()?;
    let (offline_saved, offline_broke): (Vec<f64>, Vec<f64>) = offline.into_iter().unzip();
    let streams = || learned.iter().map(|run| &run.stream);
    let began: Vec<usize> = streams().filter_map(|run| run.began).collect();
    let never = 1.0 - began.len() as f64 / learned.len() as f64;
    let saved: Vec<f64> = streams().map(|run| run.saved).collect();
    let false_shifts: Vec<f64> = streams().map(|run| run.false_shifts as f64).collect();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    Ok(format!(
        "| {} | {} | {k} | {} | {} | {} | {} | {} | {} | {} | {:.2} |",
        traffics.sets[set].0,
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

/// Mean agreement of these policies with the full model on a traffic, everything computed where there is none.
fn unwatched(policies: &[Option<Policy>], traffic: &[ScoreTrace], k: usize) -> Outcome<f64> {
    let some: Vec<Policy> = policies.iter().flatten().cloned().collect();
    let agreements: f64 = truths(&some, traffic, k)?.iter().map(|(agreement, _)| agreement).sum();
    Ok((agreements + (policies.len() - some.len()) as f64) / policies.len() as f64)
}

/// Watched, noticed, by how many, until then, saved.
fn cells(runs: &[&After]) -> String {
    let of = |value: fn(&After) -> f64| mean_of(runs, value);
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

/// Profiles of one set on another.
fn profile(profiles: &[&Calibrated], place: usize, to: &[ScoreTrace], k: usize) -> Outcome<String> {
    if profiles.is_empty() {
        return Ok("none certified | | | | | | | | | |".into());
    }
    let policies: Vec<Option<Policy>> =
        profiles.iter().map(|profile| Some(profile.policy.clone())).collect();
    let unwatched = unwatched(&policies, to, k)?;
    let way = |way: usize| {
        short(&profiles.iter().map(|profile| &profile.shifted[place][way]).collect::<Vec<_>>())
    };
    Ok(format!("{unwatched:.3} | {} | {} | {} |", way(0), way(1), way(2)))
}

/// Watched, noticed and by how many, saved.
pub(crate) fn short(runs: &[&After]) -> String {
    let noticed: Vec<usize> = runs.iter().filter_map(|after| after.noticed).collect();
    let share = 100.0 * noticed.len() as f64 / runs.len() as f64;
    let (all, saved) = (mean_of(runs, |after| after.all), mean_of(runs, |after| after.saved));
    format!("{all:.3} | {}, {share:.0} % | {:.1} %", quantiles(noticed), 100.0 * saved)
}

/// Profiles of a set on its own traffic: how often they are put out of use without need.
fn kept(name: &str, k: usize, profiles: &[&Calibrated]) -> String {
    let runs: Vec<&(u64, After)> =
        profiles.iter().filter_map(|profile| profile.kept.as_ref()).collect();
    let out = runs.iter().filter(|(times, _)| *times > 0).count();
    let later: Vec<&After> = runs.iter().map(|(_, after)| after).collect();
    let (agreement, saved) =
        (mean_of(&later, |after| after.all), mean_of(&later, |after| after.saved));
    format!("| {name} | {k} | {} | {out} | {agreement:.3} | {:.1} % |", runs.len(), 100.0 * saved)
}

fn mean_of(runs: &[&After], value: fn(&After) -> f64) -> f64 {
    mean(&runs.iter().map(|after| value(after)).collect::<Vec<f64>>())
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

fn written(rows: &Rows, repetitions: u64, dates: &str) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let (agreement, confidence) = (TARGET.agreement, TARGET.confidence);
    writeln!(
        out,
        "# Learning from the traffic, simulated\n\n\
         Generated by `cargo run --release -p grating-benches --bin learning_report -- simulate`, from scores recorded {dates}. Streams of {REQUESTS} requests drawn \
         with replacement from a set's queries, {repetitions} streams a row, promise {agreement} with confidence {confidence}, scores of the \
         default model. What a policy does on the traffic is its mean over the set's queries.\n\n\
         ## When it begins, what it saves\n\n\
         Saved: share of the candidate-layers of all {REQUESTS} requests, those that explore, test and audit included. Oracle: the best policy \
         of the family with all known beforehand. Offline: calibrated on the first {SAMPLE} requests, used on the others. Broken: \
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
             the other set, {REQUESTS} requests, and does not know what those of the sample looked like. With the sample: it knows. Later: after {SETTLED} requests of \
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
