//! What the profiles say.

use std::fmt::Write;

use grating::prune::{FrontierPoint, Target, Test};
use grating::{ModelStamp, Profile};

use crate::{Profiles, Set};

/// Levels of agreement that the frontiers are read at.
const LEVELS: [f64; 4] = [0.90, 0.95, 0.98, 0.99];

pub(crate) fn heading(out: &mut String, model: &ModelStamp, queries: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    put(
        out,
        format_args!(
            "# Pruning: results\n\nWritten by `cargo run --release -p grating --example pruning_report -- default DATA TRACES docs {queries} TIMED \
             PROMISE SET...`; {os} on {arch} with {cores} cores. Model `{}` ({}), {} layers, at most {queries} queries sampled from each set, mode `select`.\n",
            model.name,
            &model.hash[..12],
            model.layers,
            os = std::env::consts::OS,
            arch = std::env::consts::ARCH,
        ),
    );
}

/// The promise on the test half.
pub(crate) fn promises(out: &mut String, sets: &[Set], target: Target) {
    put(
        out,
        format_args!(
            "## The promise\n\nPromised: mean overlap@K with the full model of at least {}, with confidence {}. Chosen on one half of the \
             queries, measured on the other. Precision and nDCG@K against judgments: the policy's, and the full model's in brackets; in `select` mode \
             the order within the K is that of acceptance, so nDCG is that of a set put in rough order.\n",
            target.agreement, target.confidence
        ),
    );
    put(
        out,
        format_args!(
            "| set | K | queries: choose, measure | reading | agreement | kept | candidate-layers saved | precision | nDCG | paper's family: agreement, saved |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        ),
    );
    for (set, profiles) in each(sets) {
        let profile = &profiles.best;
        let counts = format!(
            "| {} | {} | {}, {} |",
            set.data.name, profile.k, profile.data.calibration_queries, profile.data.test_queries
        );
        let paper = match &profile.paper_measured {
            Some(m) => format!("{:.3}, {:.1} %", m.agreement, 100.0 * m.saved),
            None => "none certified".into(),
        };
        let Some(measured) = &profile.measured else {
            let miss = profile.calibration.nearest_miss.as_ref();
            let miss =
                miss.map_or(String::new(), |m| format!(": nearest miss {:.3}", m.lower_bound));
            put(out, format_args!("{counts} none certified{miss} | | | | | | {paper} |"));
            continue;
        };
        let judged = |get: &dyn Fn(&grating::Quality) -> f64| match &measured.judged {
            Some(j) => format!("{:.3} ({:.3})", get(&j.pruned), get(&j.full)),
            None => "no judgments".into(),
        };
        put(
            out,
            format_args!(
                "{counts} {} | {:.3} | {} | {:.1} % | {} | {} | {paper} |",
                if profile.readouts.is_some() { "fitted" } else { "head" },
                measured.agreement,
                if measured.agreement >= target.agreement { "yes" } else { "no" },
                100.0 * measured.saved,
                judged(&|q| q.precision),
                judged(&|q| q.ndcg),
            ),
        );
    }
    let fewest = |k| Test::for_k(k).fewest_queries(1.0 - 0.98, 0.05);
    put(
        out,
        format_args!(
            "\nA promise of 0.98 with confidence 0.95 takes {} test queries without any loss for K = 1, {} for larger K.\n",
            count(fewest(1)),
            count(fewest(10))
        ),
    );
}

fn count(fewest: Result<Option<usize>, grating::prune::PruneError>) -> String {
    fewest.ok().flatten().map_or("too many".into(), |n| n.to_string())
}

/// Work at given agreements: the paper's family against ours.
pub(crate) fn frontiers(out: &mut String, sets: &[Set]) {
    put(
        out,
        format_args!(
            "## The sweep\n\nShare of candidate-layers computed by the cheapest policy whose mean overlap on the calibrating half is at least the \
             level: the paper's family / ours on the model's head / ours on fitted readouts. Estimates, not promises. Plots: `pruning-SET.svg` (K = 10).\n"
        ),
    );
    let levels: Vec<String> = LEVELS.iter().map(|level| format!(" {level:.2} |")).collect();
    put(out, format_args!("| set | K |{}\n| --- | --- |{}", levels.concat(), " --- |".repeat(4)));
    for (set, p) in each(sets) {
        let cells = LEVELS.map(|level| {
            let ways = [&p.head.paper, &p.head.calibration, &p.fitted.calibration];
            let costs = ways.map(|way| cheapest(&way.frontier, level).map(|point| point.cost));
            let text = |cost: Option<f64>| cost.map_or("none".into(), |c| format!("{c:.3}"));
            format!(" {} |", costs.map(text).join(" / "))
        });
        put(out, format_args!("| {} | {} |{}", set.data.name, p.head.k, cells.concat()));
    }
    out.push('\n');
}

/// The cheapest point of at least this agreement.
pub(crate) fn cheapest(frontier: &[FrontierPoint], level: f64) -> Option<&FrontierPoint> {
    let enough = frontier.iter().filter(|point| point.agreement >= level);
    enough.min_by(|a, b| a.cost.total_cmp(&b.cost))
}

/// How early head and readouts see the final top K.
pub(crate) fn readouts(out: &mut String, sets: &[Set]) {
    put(
        out,
        format_args!(
            "## Readouts\n\nMean overlap@10 of the order after each layer with the final one on the test half, by the model's own head / by a ridge \
             readout fitted to a sixth of the queries.\n"
        ),
    );
    let layers = sets.iter().flat_map(|set| &set.profiles).map(|p| p.fitted.readings.len()).max();
    let layers = layers.unwrap_or(0);
    let names: Vec<String> = (0..layers).map(|layer| format!(" after layer {layer} |")).collect();
    put(out, format_args!("| set |{}\n| --- |{}", names.concat(), " --- |".repeat(layers)));
    for (set, p) in each(sets).filter(|(_, p)| p.fitted.k == 10) {
        let cell = |r: &grating::LayerAgreement| format!(" {:.3} / {:.3} |", r.head, r.fitted);
        let cells: Vec<String> = p.fitted.readings.iter().map(cell).collect();
        put(out, format_args!("| {} |{}", set.data.name, cells.concat()));
    }
    out.push('\n');
}

fn each(sets: &[Set]) -> impl Iterator<Item = (&Set, &Profiles)> {
    sets.iter().flat_map(|set| set.profiles.iter().map(move |profiles| (set, profiles)))
}

/// The policy of a profile in the words of its fields.
pub(crate) fn words(profile: &Profile) -> String {
    match &profile.policy {
        Some(policy) => policy.to_string(),
        None => "none".into(),
    }
}

pub(crate) fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string takes everything");
}
