//! The first step: traces, and what follows from them.

use std::path::Path;

use grating::calibrate::{Calibrator, Dataset, Reading, RecordOptions, Traces, record};
use grating::prune::{FrontierPoint, Target, Test};
use grating::{Mode, Profile, Pruning, Reranker, RerankerBuilder};

use crate::study::{Kind, OfK, Point, Study};
use crate::{CONFIDENCE, KS, Outcome, Paths, settings};

/// Promises to choose from.
const LEVELS: [f64; 6] = [0.98, 0.95, 0.9, 0.85, 0.8, 0.75];
/// A level needs so many times the queries that certify it without any loss: some losses there will be.
const ROOM: f64 = 1.5;
/// Agreements on the calibrating half that the sweep looks for.
const SWEEP: [f64; 7] = [1.0, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8];

pub(crate) fn run(builder: &RerankerBuilder, paths: &Paths, set: &str) -> Outcome<()> {
    let data = paths.sample(set)?;
    std::fs::create_dir_all(&paths.work)?;
    let reranker = builder.clone().pruning(Pruning::Off).build()?;
    let traces = recorded(&reranker, &data, &paths.work)?;
    let ks = KS.into_iter().map(|k| of_k(&data, &traces, k)).collect::<Outcome<_>>()?;
    let settings = settings::measure(&data, &traces)?;
    let study = Study { name: data.name.clone(), ks, settings, times: None };
    let file = paths.work.join(format!("{}.calibrated.json", data.name));
    Ok(std::fs::write(file, serde_json::to_vec(&study)?)?)
}

fn recorded(reranker: &Reranker, data: &Dataset, work: &Path) -> Outcome<Traces> {
    let file = work.join(format!("{}.jsonl", data.name));
    let mut last_reported = usize::MAX;
    let traces = record(
        reranker,
        data,
        RecordOptions::default().file(Some(&file)).states(true),
        |progress| {
            if progress.done != last_reported && progress.done % 10 == 0 {
                last_reported = progress.done;
                eprintln!("{}: {} of {} queries", data.name, progress.done, progress.queries);
            }
        },
    )?;
    Ok(traces)
}

fn of_k(data: &Dataset, traces: &Traces, k: usize) -> Outcome<OfK> {
    let calibrator = Calibrator::new(data, traces, k, Mode::Select, Reading::Best)?;
    let profile = |agreement, reading| {
        calibrator.profile(Target { agreement, confidence: CONFIDENCE }, reading)
    };
    let level = level_for(calibrator.test_queries(), k)?;
    let (head, fitted) = (profile(level, Reading::Head)?, profile(level, Reading::Fitted)?);
    let points = points(&calibrator, &head, &fitted)?;
    let found = |agreement| -> Outcome<_> {
        let measured = profile(agreement, Reading::Best)?.measured;
        Ok((agreement, measured.map(|m| (m.saved, m.agreement))))
    };
    let levels = LEVELS.into_iter().map(found).collect::<Outcome<_>>()?;
    eprintln!("{}: calibrated for K = {k}", data.name);
    Ok(OfK { k, promised: profile(level, Reading::Best)?, head, fitted, levels, points })
}

/// The highest level that so many queries can certify with some losses among them. It depends on nothing but their
/// number, so the confidence is that of one promise.
fn level_for(queries: usize, k: usize) -> Outcome<f64> {
    for level in LEVELS {
        let fewest = Test::for_k(k).fewest_queries(1.0 - level, 1.0 - CONFIDENCE)?;
        if fewest.is_some_and(|fewest| ROOM * fewest as f64 <= queries as f64) {
            return Ok(level);
        }
    }
    Ok(LEVELS[LEVELS.len() - 1])
}

fn points(calibrator: &Calibrator<'_>, head: &Profile, fitted: &Profile) -> Outcome<Vec<Point>> {
    let mut points = Vec::new();
    for level in SWEEP {
        let cost = |f: Option<&FrontierPoint>| f.map_or(f64::INFINITY, |point| point.cost);
        let by_head = cheapest(&head.calibration.frontier, level);
        let by_fitted = cheapest(&fitted.calibration.frontier, level);
        let reads = cost(by_fitted) < cost(by_head);
        let ours = if reads { by_fitted } else { by_head };
        let paper = cheapest(&head.paper.frontier, level);
        for (family, found, fitted) in [(Kind::Paper, paper, false), (Kind::Ours, ours, reads)] {
            let Some(FrontierPoint { policy, .. }) = found else { continue };
            let test = calibrator.measure(policy, fitted)?;
            points.push(Point { family, level, policy: policy.clone(), fitted, test });
        }
    }
    Ok(points)
}

/// The cheapest point of at least this agreement.
pub(crate) fn cheapest(frontier: &[FrontierPoint], level: f64) -> Option<&FrontierPoint> {
    let enough = frontier.iter().filter(|point| point.agreement >= level);
    enough.min_by(|a, b| a.cost.total_cmp(&b.cost))
}
