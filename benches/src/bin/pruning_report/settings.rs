//! What each setting of a policy is worth: the cheapest policies that share it.

use grating::Mode;
use grating::calibrate::{Dataset, Traces};
use grating::prune::calibrate::learned;
use grating::prune::{
    ClusterRule, Dispersion, Gap, Grid, Policy, PolicyRun, ScoreScale, ScoreTrace,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::study::Study;
use crate::tables::put;

const K: usize = 10;
const LEVEL: f64 = 0.98;

/// The cheapest policy of a set that has a setting.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setting {
    setting: String,
    value: String,
    /// Share of candidate-layers computed and agreement on the test half; none where no policy agrees enough.
    found: Option<(f64, f64)>,
}

/// Means over the sets.
pub(crate) fn table(out: &mut String, sets: &[Study]) {
    put(
        out,
        format_args!(
            "## Settings\n\nFor each setting the cheapest policy that has it and whose mean agreement@{K} on the calibrating half is \
             at least {LEVEL}, on the model's head: candidate-layers computed and agreement on the test half, means over the sets.\n\n\
             | setting | value | computed | agreement | sets with such a policy |\n| --- | --- | --- | --- | --- |"
        ),
    );
    let Some(first) = sets.first() else { return };
    for (at, Setting { setting, value, .. }) in first.settings.iter().enumerate() {
        let found: Vec<(f64, f64)> =
            sets.iter().filter_map(|set| set.settings.get(at)?.found).collect();
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
                sets.len()
            ),
        );
    }
    out.push('\n');
}

/// The same policies on both halves of a set.
struct Runs {
    calibrating: Vec<PolicyRun>,
    testing: Vec<PolicyRun>,
}

/// The settings of a set.
pub(crate) fn measure(data: &Dataset, traces: &Traces) -> Outcome<Vec<Setting>> {
    let (calibrating, testing) = halves(data, traces);
    let layers = traces.model.layers;
    let mut policies: Vec<Policy> =
        Grid::standard(layers, Mode::Select).family()?.policies().cloned().collect();
    let explore = (calibrating.len() / 3).max(1);
    policies.extend(learned(&calibrating[..explore], K, Mode::Select)?.policies().cloned());
    let run = |traces: &[ScoreTrace]| -> Outcome<Vec<PolicyRun>> {
        let runs = policies.par_iter().map(|policy| PolicyRun::measure(policy, traces, K));
        Ok(runs.collect::<Result<_, _>>()?)
    };
    let runs = Runs { calibrating: run(&calibrating)?, testing: run(&testing)? };
    let mut settings = Vec::new();
    let mut row = |setting: &str, value: &str, has: &dyn Fn(&Policy) -> bool| {
        let found = cheapest(&runs, has);
        settings.push(Setting { setting: setting.into(), value: value.into(), found });
    };
    let is_learned = |policy: &Policy| matches!(policy.gap, Gap::Layers(_));
    row("any", "any", &|_| true);
    row("gap", "learned, a width for each layer", &is_learned);
    row("gap", "any other", &|p| !is_learned(p));
    for (value, gap) in [
        ("an edge", Gap::Edge),
        ("0.5 standard deviations", Gap::Deviations(0.5)),
        ("1 standard deviation", Gap::Deviations(1.0)),
    ] {
        row("gap", value, &|p| p.gap == gap);
    }
    for (value, scale, dispersion) in [
        ("CV of probabilities (the paper's)", ScoreScale::Probability, Dispersion::Variation),
        ("standard deviation of logits", ScoreScale::Logit, Dispersion::Spread),
        ("CV of odds against the best", ScoreScale::Odds, Dispersion::Variation),
    ] {
        let is = |p: &Policy| p.scale == scale && p.dispersion == dispersion;
        row("dispersion, other gaps", value, &|p| !is_learned(p) && is(p));
    }
    for (value, clusters) in [
        ("3", ClusterRule::Fixed(3)),
        ("2 to 6 by silhouette", ClusterRule::Silhouette { min: 2, max: 6 }),
        ("each score its own", ClusterRule::Each),
    ] {
        row("clusters, other gaps", value, &|p| !is_learned(p) && p.clusters == clusters);
    }
    let mut first: Vec<usize> = policies.iter().map(|p| p.first_layer).collect();
    first.sort_unstable();
    first.dedup();
    for layer in first {
        let is = |p: &Policy| !is_learned(p) && p.first_layer == layer;
        row("first layer, other gaps", &layer.to_string(), &is);
    }
    Ok(settings)
}

/// Traces in the order of a calibration's split.
fn halves(data: &Dataset, traces: &Traces) -> (Vec<ScoreTrace>, Vec<ScoreTrace>) {
    let mut keys: Vec<String> =
        data.queries.iter().filter(|q| q.texts.len() > K).map(|q| q.key()).collect();
    keys.sort();
    keys.dedup();
    let half = |rest| {
        keys.iter().skip(rest).step_by(2).filter_map(|key| traces.get(key).cloned()).collect()
    };
    (half(0), half(1))
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
