//! What each setting of a policy is worth: the cheapest policies that share it.

use grating::Mode;
use grating::prune::{
    ClusterRule, Dispersion, Gap, Grid, Policy, PolicyRun, ScoreScale, ScoreTrace,
};

use crate::tables::put;
use crate::{Outcome, Set, halves};

const K: usize = 10;
const LEVEL: f64 = 0.98;

/// The same policies on both halves of a set.
struct Runs {
    calibrating: Vec<PolicyRun>,
    testing: Vec<PolicyRun>,
}

pub(crate) fn table(out: &mut String, sets: &[Set]) -> Outcome<()> {
    let layers = sets.first().map_or(1, |set| set.traces.model.layers);
    let policies: Vec<Policy> =
        Grid::standard(layers, Mode::Select).family()?.policies().copied().collect();
    let runs: Vec<Runs> = sets.iter().map(|set| run(set, &policies)).collect::<Outcome<_>>()?;
    put(
        out,
        format_args!(
            "## Settings\n\nFor each setting the cheapest policy of the standard grid that has it and whose mean overlap@{K} on the calibrating half is \
             at least {LEVEL}, on the model's head: candidate-layers computed and overlap on the test half, means over the sets.\n\n\
             | setting | value | computed | overlap | sets with such a policy |\n| --- | --- | --- | --- | --- |"
        ),
    );
    let mut row = |setting: &str, value: &str, has: &dyn Fn(&Policy) -> bool| {
        let found: Vec<(f64, f64)> = runs.iter().filter_map(|runs| cheapest(runs, has)).collect();
        let mean = |get: &dyn Fn(&(f64, f64)) -> f64| {
            found.iter().map(get).sum::<f64>() / found.len() as f64
        };
        put(
            out,
            format_args!(
                "| {setting} | {value} | {:.3} | {:.3} | {} of {} |",
                mean(&|f| f.0),
                mean(&|f| f.1),
                found.len(),
                runs.len()
            ),
        );
    };
    row("any", "any", &|_| true);
    for (value, scale, dispersion) in [
        ("CV of probabilities (the paper's)", ScoreScale::Probability, Dispersion::Variation),
        ("standard deviation of logits", ScoreScale::Logit, Dispersion::Spread),
        ("CV of odds against the best", ScoreScale::Odds, Dispersion::Variation),
    ] {
        row("dispersion", value, &|p| p.scale == scale && p.dispersion == dispersion);
    }
    for (value, clusters) in [
        ("3", ClusterRule::Fixed(3)),
        ("2 to 6 by silhouette", ClusterRule::Silhouette { min: 2, max: 6 }),
        ("each score its own", ClusterRule::Each),
    ] {
        row("clusters", value, &|p| p.clusters == clusters);
    }
    for (value, gap) in [
        ("an edge", Gap::Edge),
        ("0.5 standard deviations", Gap::Deviations(0.5)),
        ("1 standard deviation", Gap::Deviations(1.0)),
    ] {
        row("gap", value, &|p| p.gap == gap);
    }
    let mut first: Vec<usize> = policies.iter().map(|p| p.first_layer).collect();
    first.sort_unstable();
    first.dedup();
    for layer in first {
        row("first layer", &layer.to_string(), &|p| p.first_layer == layer);
    }
    out.push('\n');
    Ok(())
}

fn run(set: &Set, policies: &[Policy]) -> Outcome<Runs> {
    let (calibrating, testing) = halves(&set.data, K);
    let measure = |queries: Vec<&grating::calibrate::Query>| -> Outcome<Vec<PolicyRun>> {
        let trace = |q: &&grating::calibrate::Query| set.traces.get(&q.key()).cloned();
        let traces: Vec<ScoreTrace> = queries.iter().filter_map(trace).collect();
        Ok(policies.iter().map(|p| PolicyRun::measure(p, &traces, K)).collect::<Result<_, _>>()?)
    };
    Ok(Runs { calibrating: measure(calibrating)?, testing: measure(testing)? })
}

/// Cost and agreement on the test half of the policy that is the cheapest on the other.
fn cheapest(runs: &Runs, has: &dyn Fn(&Policy) -> bool) -> Option<(f64, f64)> {
    let enough = |run: &&PolicyRun| has(&run.policy) && agreement(run) >= LEVEL;
    let candidates = runs.calibrating.iter().zip(&runs.testing).filter(|(c, _)| enough(c));
    let best = candidates.min_by(|a, b| cost(a.0).total_cmp(&cost(b.0)));
    best.map(|(_, testing)| (cost(testing), agreement(testing)))
}

fn agreement(run: &PolicyRun) -> f64 {
    run.agreement.iter().sum::<f64>() / run.agreement.len() as f64
}

fn cost(run: &PolicyRun) -> f64 {
    run.candidate_layers.iter().sum::<u64>() as f64 / run.full.iter().sum::<u64>() as f64
}
