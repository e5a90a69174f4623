//! What the profiles say.

use std::fmt::Write;

use grating::prune::Test;
use grating::{LayerAgreement, Quality};

use crate::CONFIDENCE;
use crate::study::{Kind, OfK, Study};

pub(crate) fn heading(out: &mut String, sets: &[Study]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(model) = sets.first().and_then(|set| set.ks.first()).map(|of_k| &of_k.head.model)
    else {
        return;
    };
    put(
        out,
        format_args!(
            "# Pruning: results\n\nWritten by the steps of `cargo run --release -p grating --example pruning_report`, see \
             [pruning.md](../pruning.md#measuring); {os} on {arch} with {cores} cores. Model `{}` ({}), {} layers, mode `select`.\n",
            model.name,
            &model.hash[..12],
            model.layers,
            os = std::env::consts::OS,
            arch = std::env::consts::ARCH,
        ),
    );
}

/// The promise on the test half.
pub(crate) fn promises(out: &mut String, sets: &[Study]) {
    put(
        out,
        format_args!(
            "## The promise\n\nPromised: mean agreement@K with the full model, with confidence {CONFIDENCE}. The level is the highest that the \
             number of queries can certify with some losses among them; nothing else decides it. Chosen on one half of the queries, measured on the \
             other. Precision and nDCG@K against judgments: the policy's, and the full model's in brackets; in `select` mode \
             the order within the K is that of acceptance, so nDCG is that of a set put in rough order. Wall time: see below.\n"
        ),
    );
    put(
        out,
        format_args!(
            "| set | K | queries: choose, measure | promised | reading | agreement | kept | candidate-layers saved | wall time saved | precision | nDCG | paper's family: agreement, saved |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        ),
    );
    for (set, of_k) in each(sets) {
        put(out, format_args!("{}", promise(set, of_k)));
    }
    let fewest = |k| Test::for_k(k).fewest_queries(1.0 - 0.98, 0.05);
    put(
        out,
        format_args!(
            "\nA promise of 0.98 with confidence 0.95 takes {} test queries without any loss for K = 1, {} for larger K; a third of the \
             choosing queries explores, the others test.\n",
            count(fewest(1)),
            count(fewest(10))
        ),
    );
}

fn promise(set: &Study, of_k: &OfK) -> String {
    let profile = &of_k.promised;
    let level = profile.promise.agreement;
    let queries = (profile.data.calibration_queries, profile.data.test_queries);
    let counts = format!("| {} | {} | {}, {} |", set.name, of_k.k, queries.0, queries.1);
    let paper = match &profile.paper_measured {
        Some(m) => format!("{:.3}, {:.1} %", m.agreement, 100.0 * m.saved),
        None => "none certified".into(),
    };
    let Some(measured) = &profile.measured else {
        let miss = profile.calibration.nearest_miss.as_ref();
        let miss = miss.map_or(String::new(), |m| format!(": nearest miss {:.3}", m.lower_bound));
        return format!("{counts} {level} | none certified{miss} | | | | | | | {paper} |");
    };
    let judged = |get: &dyn Fn(&Quality) -> f64| match &measured.judged {
        Some(j) => format!("{:.3} ({:.3})", get(&j.pruned), get(&j.full)),
        None => "no judgments".into(),
    };
    let timed = set.timed(of_k.k, Kind::Promised, level);
    format!(
        "{counts} {level} | {} | {:.3} | {} | {:.1} % | {} | {} | {} | {paper} |",
        if profile.readouts.is_some() { "fitted" } else { "head" },
        measured.agreement,
        if measured.agreement >= level { "yes" } else { "no" },
        100.0 * measured.saved,
        timed.map_or("not timed".into(), |t| format!("{:.1} %", 100.0 * (1.0 - t.share))),
        judged(&|q| q.precision),
        judged(&|q| q.ndcg),
    )
}

/// What else could have been promised.
pub(crate) fn levels(out: &mut String, sets: &[Study]) {
    let Some(first) = sets.first().and_then(|set| set.ks.first()) else { return };
    let names: Vec<String> =
        first.levels.iter().map(|(level, _)| format!(" {level:.2} |")).collect();
    put(
        out,
        format_args!(
            "## Other promises\n\nCandidate-layers saved / agreement on the test half, in percent, by what is certified for each level on its own with \
             confidence {CONFIDENCE}. Who tried them all and took the best would have to share the error among them.\n\n\
             | set | K |{}\n| --- | --- |{}",
            names.concat(),
            " --- |".repeat(names.len())
        ),
    );
    for (set, of_k) in each(sets) {
        let cell = |(_, found): &(f64, Option<(f64, f64)>)| match found {
            Some((saved, agreement)) => {
                format!(" {:.1} / {:.1} |", 100.0 * saved, 100.0 * agreement)
            }
            None => " none |".into(),
        };
        let cells: Vec<String> = of_k.levels.iter().map(cell).collect();
        put(out, format_args!("| {} | {} |{}", set.name, of_k.k, cells.concat()));
    }
    out.push('\n');
}

fn count(fewest: Result<Option<usize>, grating::prune::PruneError>) -> String {
    fewest.ok().flatten().map_or("too many".into(), |n| n.to_string())
}

/// How early head and readouts see the final top K.
pub(crate) fn readouts(out: &mut String, sets: &[Study]) {
    put(
        out,
        format_args!(
            "## Readouts\n\nMean agreement@10 of the order after each layer with the final one on the test half, by the model's own head / by a ridge \
             readout fitted to a sixth of the queries.\n"
        ),
    );
    let layers = each(sets).map(|(_, of_k)| of_k.fitted.readings.len()).max().unwrap_or(0);
    let names: Vec<String> = (0..layers).map(|layer| format!(" after layer {layer} |")).collect();
    put(out, format_args!("| set |{}\n| --- |{}", names.concat(), " --- |".repeat(layers)));
    for (set, of_k) in each(sets).filter(|(_, of_k)| of_k.k == 10) {
        let cell = |r: &LayerAgreement| format!(" {:.3} / {:.3} |", r.head, r.fitted);
        let cells: Vec<String> = of_k.fitted.readings.iter().map(cell).collect();
        put(out, format_args!("| {} |{}", set.name, cells.concat()));
    }
    out.push('\n');
}

pub(crate) fn each(sets: &[Study]) -> impl Iterator<Item = (&Study, &OfK)> {
    sets.iter().flat_map(|set| set.ks.iter().map(move |of_k| (set, of_k)))
}

pub(crate) fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string takes everything");
}
