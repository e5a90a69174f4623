//! What profiles of a mix of sets do on each of them.

use std::fmt::Write;

use grating::Profile;
use grating::prune::calibrate::learned;
use grating::prune::online::Signals;
use grating::prune::{Policy, Procedure, ScoreTrace, Sweep, Test, calibrate};
use rayon::prelude::*;

use crate::shifts::{After, Given, given};
use crate::simulate::{Known, REQUESTS, truth};
use crate::tables::short;
use crate::{Outcome, Set, Traffics};

/// Most requests of a set whose signals a profile keeps.
const OF_A_KIND: usize = 60;

/// The report of the profiles that ship with the default model.
pub(crate) fn report(profiles: &[Profile], sets: &[Set], repetitions: u64) -> Outcome<String> {
    let mut out = String::new();
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    writeln!(
        out,
        "# The default model's profiles\n\n\
         Made by `cargo run --release -p grating --example learning_report -- profiles`. Each profile was calibrated by `grating calibrate` on \
         half of the queries of all sets together, ordered by the SHA-256 of text and pool, and is measured here on the other half. Agreement with the \
         full model's top K, and the candidate-layers saved by it. Another kind of traffic: a policy calibrated on all sets but \
         one in the same way, on all queries of that one.\n\n\
         | K | promise | confidence | on | all | {} |\n| ---: | ---: | ---: | --- | ---: | {} |",
        names.join(" | "),
        vec!["---:"; names.len()].join(" | ")
    )?;
    for profile in profiles {
        let (k, promise) = (profile.k, profile.promise);
        let head = format!("| {k} | {} | {} |", promise.agreement, promise.confidence);
        let Some(policy) = &profile.policy else {
            writeln!(out, "{head} none certified | | {} |", vec![""; names.len()].join(" | "))?;
            continue;
        };
        let halves = halves(sets, k);
        let all: Vec<ScoreTrace> = halves.iter().flat_map(|half| half.test.clone()).collect();
        write!(out, "{head} the other half | {} |", cell(policy, &all, k)?)?;
        for half in &halves {
            write!(out, " {} |", cell(policy, &half.test, k)?)?;
        }
        write!(out, "\n{head} another kind of traffic | |")?;
        for left_out in 0..sets.len() {
            let policy = without(profile, &halves, left_out)?;
            let half = &halves[left_out];
            let whole = [half.calibrating.clone(), half.test.clone()].concat();
            match policy {
                Some(policy) => write!(out, " {} |", cell(&policy, &whole, k)?)?,
                None => write!(out, " none certified |")?,
            }
        }
        writeln!(out)?;
    }
    watched(&mut out, profiles, sets, repetitions)?;
    Ok(out)
}

/// Streams of each set's requests under the profiles, and under those of the other sets, as a process is at its beginning.
fn watched(out: &mut String, profiles: &[Profile], sets: &[Set], repetitions: u64) -> Outcome<()> {
    writeln!(
        out,
        "\n## Watched\n\n\
         {repetitions} streams of {REQUESTS} requests of one set, drawn with replacement, to a process that has just begun. Unwatched: mean agreement of the profile there. \
         By audits: nothing is known of the sample. With the sample as one: requests are compared with those of all sets of the sample together. By kind, as the profiles \
         ship: with those of each set, and they are suspicious where they are like none. Watched: mean agreement of all answers; noticed: requests until \
         the profile is put out of use, median (10 %, 90 %) over the streams where it is, and how many these are; saved: share of the candidate-layers. \
         Left out: the profile is one of the other sets, calibrated in the same way.\n\n\
         | K | requests of | unwatched | by audits: watched | noticed | saved | the sample as one: watched | noticed | saved | by kind: watched | noticed | saved |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for profile in profiles {
        let Some(policy) = &profile.policy else { continue };
        let traffics = Traffics::of(sets, profile.k);
        let halves = halves(sets, profile.k);
        for set in (0..sets.len()).filter(|&set| !traffics.requests(set).is_empty()) {
            let every: Vec<usize> = (0..sets.len()).collect();
            let name = &sets[set].name;
            row(out, &traffics, (policy, &every), (set, name), repetitions)?;
            let others: Vec<usize> = every.into_iter().filter(|&other| other != set).collect();
            if let Some(policy) = without(profile, &halves, set)? {
                let name = format!("{name}, left out");
                row(out, &traffics, (&policy, &others), (set, &name), repetitions)?;
            }
        }
    }
    Ok(())
}

/// A policy that was calibrated on some sets, on the requests of one.
fn row(
    out: &mut String,
    traffics: &Traffics,
    (policy, sample): (&Policy, &[usize]),
    (set, name): (usize, &str),
    repetitions: u64,
) -> Outcome<()> {
    let k = traffics.k;
    let pair = traffics.pair(set, set);
    let kinds = sample.iter().map(|&set| kind(policy, traffics.requests(set), k));
    let kinds: Vec<Vec<Signals>> = kinds.collect::<Outcome<_>>()?;
    let whole = vec![kinds.concat()];
    let ways = [Vec::new(), whole, kinds].map(|kinds| Given { policy: policy.clone(), kinds });
    write!(out, "| {k} | {name} | {:.3} |", truth(policy, traffics.requests(set), k)?.0)?;
    for way in &ways {
        let runs = (0..repetitions).into_par_iter().map(|seed| {
            let mut known = Known::new(&traffics.requests, k);
            Ok(given(way, &mut known, &pair, 0, seed)?.0)
        });
        let runs = runs.collect::<Outcome<Vec<After>>>()?;
        write!(out, " {} |", short(&runs.iter().collect::<Vec<_>>()))?;
    }
    Ok(writeln!(out)?)
}

/// What a policy shows of one set's requests, evenly thinned out.
pub(crate) fn kind(policy: &Policy, requests: &[ScoreTrace], k: usize) -> Outcome<Vec<Signals>> {
    let step = requests.len().div_ceil(OF_A_KIND).max(1);
    let kept = requests.iter().step_by(step);
    Ok(kept.map(|trace| Signals::of(policy, trace, k)).collect::<Result<_, _>>()?)
}

/// A set's part of the halves of the mix.
struct Half {
    calibrating: Vec<ScoreTrace>,
    test: Vec<ScoreTrace>,
}

/// As `grating calibrate` tells the halves apart.
fn halves(sets: &[Set], k: usize) -> Vec<Half> {
    let contested = |set: usize| sets[set].keyed.iter().filter(move |(_, t)| t.candidates() > k);
    let mut all: Vec<(&String, &ScoreTrace, usize)> = (0..sets.len())
        .flat_map(|set| contested(set).map(move |(key, trace)| (key, trace, set)))
        .collect();
    all.sort_by_key(|(key, _, _)| *key);
    let mut halves: Vec<Half> =
        sets.iter().map(|_| Half { calibrating: Vec::new(), test: Vec::new() }).collect();
    for (at, (_, trace, set)) in all.into_iter().enumerate() {
        let half = &mut halves[set];
        let part = if at % 2 == 0 { &mut half.calibrating } else { &mut half.test };
        part.push(trace.clone());
    }
    halves
}

/// The policy that the same calibration finds without one set.
fn without(profile: &Profile, halves: &[Half], left_out: usize) -> Outcome<Option<Policy>> {
    let others = halves.iter().enumerate().filter(|(set, _)| *set != left_out);
    let mut sample: Vec<ScoreTrace> =
        others.flat_map(|(_, half)| half.calibrating.clone()).collect();
    // The sets take turns, so that each of them explores.
    let (thirds, rest): (Vec<_>, Vec<_>) =
        sample.drain(..).enumerate().partition(|(at, _)| at % 3 == 0);
    let explore = thirds.len();
    let sample: Vec<ScoreTrace> = thirds.into_iter().chain(rest).map(|(_, trace)| trace).collect();
    if explore == 0 {
        return Ok(None);
    }
    let family = learned(&sample[..explore], profile.k, profile.mode)?;
    let sweep = Sweep::run(&family, &sample, profile.k)?;
    let (procedure, test) = (Procedure::Split { explore }, Test::for_k(profile.k));
    let found = calibrate(&sweep, profile.promise, procedure, test)?;
    Ok(found.chosen.map(|chosen| chosen.policy))
}

fn cell(policy: &Policy, traces: &[ScoreTrace], k: usize) -> Outcome<String> {
    if traces.is_empty() {
        return Ok("–".into());
    }
    let (agreement, cost) = truth(policy, traces, k)?;
    Ok(format!("{agreement:.3}, {:.1} %", 100.0 * (1.0 - cost)))
}
