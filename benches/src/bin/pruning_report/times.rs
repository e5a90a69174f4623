//! The second step: requests in full and by policies, in turn.

use std::rc::Rc;
use std::time::Instant;

use grating::calibrate::{Dataset, Query};
use grating::prune::metrics::agreement_at_k;
use grating::{Profile, Pruning, Request, Reranker, RerankerBuilder};

use crate::study::{Kind, OfK, Study, Timed, Times};
use crate::{Outcome, Paths};

/// Agreement on the calibrating half of the policy that is timed for every K; the others for the largest alone.
pub(crate) const LEVEL: f64 = 0.98;

/// A policy, the reranker that has it, and what it took.
struct Runner {
    reranker: Rc<Reranker>,
    pruning: Option<Pruning>,
    timed: Timed,
    ratios: Vec<f64>,
    seconds: f64,
    layers: u64,
}

/// One request.
struct Answer {
    seconds: f64,
    places: Vec<usize>,
    layers: u64,
}

pub(crate) fn run(
    builder: &RerankerBuilder,
    paths: &Paths,
    set: &str,
    queries: usize,
) -> Outcome<()> {
    let data = paths.sample(set)?;
    let study = Study::read(&paths.work, set)?;
    let plain = Rc::new(builder.clone().pruning(Pruning::Off).build()?);
    let most = study.ks.iter().map(|of_k| of_k.k).max().unwrap_or(1);
    let full = runner(builder, &plain, most, None, (Kind::Ours, 1.0))?;
    let mut runners = Vec::new();
    for of_k in &study.ks {
        runners.extend(policies(builder, &plain, of_k, of_k.k == most)?);
    }
    let testing: Vec<&Query> = testing(&data, most).into_iter().take(queries).collect();
    let (mut seconds, mut layers) = (0.0, 0);
    for (i, query) in testing.iter().enumerate() {
        if i == 0 {
            // Warms caches and the machine's measured speeds.
            full.answer(query)?;
            runners.iter().try_for_each(|runner| runner.answer(query).map(drop))?;
        }
        // One full pass before the policies and one after, so that neither gains from a machine that warms or tires.
        let before = full.answer(query)?;
        let mut answers = Vec::new();
        for runner in &runners {
            answers.push(runner.answer(query)?);
        }
        let after = full.answer(query)?;
        let mean = 0.5 * (before.seconds + after.seconds);
        seconds += mean;
        layers += before.layers;
        for (runner, answer) in runners.iter_mut().zip(answers) {
            let k = runner.timed.k;
            runner.ratios.push(answer.seconds / mean);
            runner.seconds += answer.seconds;
            runner.layers += answer.layers;
            runner.timed.overlap += agreement_at_k(&answer.places, &before.places, k);
        }
    }
    let count = testing.len();
    let finished = |mut runner: Runner| {
        runner.ratios.sort_by(f64::total_cmp);
        Timed {
            share: runner.seconds / seconds,
            median: runner.ratios[count / 2],
            overlap: runner.timed.overlap / count as f64,
            layers: runner.layers as f64 / layers as f64,
            ..runner.timed
        }
    };
    let timed = runners.into_iter().map(finished).collect();
    let times = Times { queries: count, full: seconds / count as f64, timed };
    let file = paths.work.join(format!("{}.timed.json", data.name));
    Ok(std::fs::write(file, serde_json::to_vec(&times)?)?)
}

/// What is timed for one K.
fn policies(
    builder: &RerankerBuilder,
    plain: &Rc<Reranker>,
    of_k: &OfK,
    whole_sweep: bool,
) -> Outcome<Vec<Runner>> {
    let mut runners = Vec::new();
    let promised = &of_k.promised;
    if promised.policy.is_some() {
        let at = (Kind::Promised, promised.promise.agreement);
        runners.push(runner(builder, plain, of_k.k, Some(promised.clone()), at)?);
    }
    for point in &of_k.points {
        if whole_sweep || (point.level == LEVEL && point.family == Kind::Ours) {
            let at = (point.family, point.level);
            runners.push(runner(builder, plain, of_k.k, Some(of_k.profile(point)), at)?);
        }
    }
    Ok(runners)
}

/// A policy without readouts needs no reranker of its own.
fn runner(
    builder: &RerankerBuilder,
    plain: &Rc<Reranker>,
    k: usize,
    profile: Option<Profile>,
    (family, level): (Kind, f64),
) -> Outcome<Runner> {
    let (reranker, pruning) = match profile {
        Some(profile) if profile.readouts.is_some() => {
            (Rc::new(builder.clone().profile(profile).build()?), None)
        }
        Some(Profile { policy: Some(policy), .. }) => (Rc::clone(plain), Some(Pruning::By(policy))),
        _ => (Rc::clone(plain), Some(Pruning::Off)),
    };
    let timed = Timed { k, family, level, share: 0.0, median: 0.0, overlap: 0.0, layers: 0.0 };
    Ok(Runner { reranker, pruning, timed, ratios: Vec::new(), seconds: 0.0, layers: 0 })
}

impl Runner {
    fn answer(&self, query: &Query) -> Outcome<Answer> {
        let mut request = Request::new(&query.text, &query.texts, self.timed.k);
        if let Some(pruning) = &self.pruning {
            request = request.pruning(pruning.clone());
        }
        let started = Instant::now();
        let selection = self.reranker.run(request)?;
        let seconds = started.elapsed().as_secs_f64();
        let places = selection.results.iter().map(|r| r.index).collect();
        Ok(Answer { seconds, places, layers: selection.stats.candidate_layers })
    }
}

/// The test half in the order of a calibration's split.
fn testing(data: &Dataset, k: usize) -> Vec<&Query> {
    let mut queries: Vec<(String, &Query)> =
        data.queries.iter().filter(|q| q.texts.len() > k).map(|q| (q.key(), q)).collect();
    queries.sort_by(|a, b| a.0.cmp(&b.0));
    queries.dedup_by(|a, b| a.0 == b.0);
    queries.iter().skip(1).step_by(2).map(|(_, query)| *query).collect()
}
