//! What profiles of a mix of sets do on each of them.

use std::fmt::Write;

use grating::Profile;
use grating::prune::calibrate::learned;
use grating::prune::{Policy, Procedure, ScoreTrace, Sweep, Test, calibrate};

use crate::simulate::truth;
use crate::{Outcome, Set};

/// The report of the profiles that ship with the default model.
pub(crate) fn report(profiles: &[Profile], sets: &[Set]) -> Outcome<String> {
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
    Ok(out)
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
