//! Requests in pairs, with and without pruning.

use std::time::{Duration, Instant};

use grating::prune::metrics::overlap_at_k;
use grating::{Profile, Pruning, Request, RerankerBuilder};

use crate::tables::{cheapest, put, words};
use crate::{Outcome, Set, halves};

/// Mean overlap on the calibrating half of the policies that are timed.
const LEVEL: f64 = 0.98;

/// Sums over the pairs of one set.
#[derive(Default)]
struct Pairs {
    full: Duration,
    pruned: Duration,
    ratios: Vec<f64>,
    overlap: f64,
    layers: (u64, u64),
}

pub(crate) fn table(
    out: &mut String,
    sets: &[Set],
    timed: usize,
    builder: &RerankerBuilder,
) -> Outcome<()> {
    put(
        out,
        format_args!(
            "## Wall time\n\nPairs of requests from the test half, one in full and one pruned, in turn and each first as often; times from call to return. The \
             policy is the cheapest whose mean overlap on the calibrating half is at least {LEVEL}, by whichever reading is cheaper.\n\n\
             | set | K | pairs | reading | overlap | candidate-layers saved | full, mean | wall time saved, of the sum | median of pairs | policy |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        ),
    );
    for set in sets {
        for profiles in &set.profiles {
            let cost = |p: &Profile| cheapest(&p.calibration.frontier, LEVEL).map(|f| f.cost);
            let fitted = match (cost(&profiles.fitted), cost(&profiles.head)) {
                (Some(fitted), Some(head)) => fitted < head,
                (fitted, _) => fitted.is_some(),
            };
            let mut profile = if fitted { &profiles.fitted } else { &profiles.head }.clone();
            let Some(point) = cheapest(&profile.calibration.frontier, LEVEL) else { continue };
            profile.policy = Some(point.policy);
            let k = profile.k;
            let (description, reading) = (words(&profile), if fitted { "fitted" } else { "head" });
            let mut pairs = pairs(set, profile, timed, builder)?;
            let count = pairs.ratios.len();
            pairs.ratios.sort_by(f64::total_cmp);
            let saved = |ratio: f64| 100.0 * (1.0 - ratio);
            put(
                out,
                format_args!(
                    "| {} | {k} | {count} | {reading} | {:.3} | {:.1} % | {:.0} ms | {:.1} % | {:.1} % | {description} |",
                    set.data.name,
                    pairs.overlap / count as f64,
                    saved(pairs.layers.0 as f64 / pairs.layers.1 as f64),
                    pairs.full.as_secs_f64() * 1e3 / count as f64,
                    saved(pairs.pruned.as_secs_f64() / pairs.full.as_secs_f64()),
                    saved(pairs.ratios[count / 2]),
                ),
            );
        }
    }
    out.push('\n');
    Ok(())
}

fn pairs(set: &Set, profile: Profile, timed: usize, builder: &RerankerBuilder) -> Outcome<Pairs> {
    let k = profile.k;
    let reranker = builder.clone().profile(profile).build()?;
    let (_, testing) = halves(&set.data, k);
    let mut pairs = Pairs::default();
    for (i, query) in testing.into_iter().take(timed).enumerate() {
        let run = |full: bool| -> Outcome<_> {
            let mut request = Request::new(&query.text, &query.texts, k);
            if full {
                request = request.pruning(Pruning::Off);
            }
            let started = Instant::now();
            let selection = reranker.run(request)?;
            let places: Vec<usize> = selection.results.iter().map(|r| r.index).collect();
            Ok((started.elapsed(), places, selection.stats.candidate_layers))
        };
        if i == 0 {
            run(true)?; // warms caches and the machine's measured speeds
        }
        let first = run(i % 2 == 0)?;
        let second = run(i % 2 != 0)?;
        let (full, pruned) = if i % 2 == 0 { (first, second) } else { (second, first) };
        pairs.ratios.push(pruned.0.as_secs_f64() / full.0.as_secs_f64());
        pairs.overlap += overlap_at_k(&pruned.1, &full.1, k);
        pairs.full += full.0;
        pairs.pruned += pruned.0;
        pairs.layers.0 += pruned.2;
        pairs.layers.1 += full.2;
    }
    Ok(pairs)
}
