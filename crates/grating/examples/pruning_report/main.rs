//! Everything measured that `docs/pruning.md` speaks of: traces are recorded (or found), policies chosen on one half of
//! each set's queries and measured on the other, requests timed in pairs, and tables and plots written.
//!
//! `cargo run --release -p grating --example pruning_report -- MODEL DATA TRACES OUT QUERIES TIMED PROMISE [SET...]`: MODEL is a
//! folder or `default`; DATA holds the sets in
//! BEIR layout with pools; TRACES is a folder of recorded traces, made where they are missing; OUT gets
//! `pruning-results.md` and an SVG for each set; QUERIES is how many are sampled from each set, TIMED how many pairs of
//! requests are timed, PROMISE the least mean overlap to certify.

mod settings;
mod tables;
mod times;

use std::error::Error;
use std::path::{Path, PathBuf};

use grating::calibrate::{
    Dataset, Options, Query, Reading, RecordOptions, Traces, fit, plot, record,
};
use grating::prune::Target;
use grating::{Mode, ModelSource, Profile, Pruning, Reranker, RerankerBuilder};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Of the tables' promise.
const CONFIDENCE: f64 = 0.9;
/// How many texts are asked for.
const KS: [usize; 3] = [1, 5, 10];

/// One data set with its traces and what was calibrated on them.
pub(crate) struct Set {
    pub(crate) data: Dataset,
    pub(crate) traces: Traces,
    /// One for each of [`KS`] that its pools are larger than.
    pub(crate) profiles: Vec<Profiles>,
}

/// Calibrations for one K.
pub(crate) struct Profiles {
    /// Scores read in whichever way saves more.
    pub(crate) best: Profile,
    /// By the model's own head.
    pub(crate) head: Profile,
    /// By fitted readouts.
    pub(crate) fitted: Profile,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, traces, out, queries, timed, promise, names @ ..] = &args[..] else {
        return Err(
            "MODEL DATA TRACES OUT QUERIES TIMED PROMISE SET...: see this example's head".into()
        );
    };
    let (queries, timed): (usize, usize) = (queries.parse()?, timed.parse()?);
    let target = Target { agreement: promise.parse()?, confidence: CONFIDENCE };
    let reranker = builder(model)?.pruning(Pruning::Off).build()?;
    std::fs::create_dir_all(traces)?;
    let mut sets = Vec::new();
    for name in names {
        let file = Path::new(traces).join(format!("{name}.jsonl"));
        let data = Dataset::read(&Path::new(data).join(name))?.sample(queries);
        sets.push(calibrated(&reranker, data, &file, target)?);
    }
    let out = PathBuf::from(out);
    let mut report = String::new();
    tables::heading(&mut report, &reranker.stamp()?, queries);
    tables::promises(&mut report, &sets, target);
    tables::frontiers(&mut report, &sets);
    tables::readouts(&mut report, &sets);
    settings::table(&mut report, &sets)?;
    if timed > 0 {
        times::table(&mut report, &sets, timed, &builder(model)?)?;
    }
    std::fs::write(out.join("pruning-results.md"), report)?;
    for set in &sets {
        if let Some(profiles) = set.profiles.last() {
            let file = out.join(format!("pruning-{}.svg", set.data.name));
            std::fs::write(file, plot(&profiles.best))?;
        }
    }
    Ok(())
}

fn builder(model: &str) -> Outcome<RerankerBuilder> {
    Ok(match model {
        "default" => Reranker::builder(),
        folder => Reranker::builder().source(ModelSource::parse(folder)?),
    })
}

fn calibrated(reranker: &Reranker, data: Dataset, file: &Path, target: Target) -> Outcome<Set> {
    let name = data.name.clone();
    let recording = RecordOptions { file: Some(file), states: true };
    let mut told = usize::MAX;
    let traces = record(reranker, &data, recording, |progress| {
        if progress.done != told && progress.done % 10 == 0 {
            told = progress.done;
            eprintln!("{name}: {} of {} queries recorded", progress.done, progress.queries);
        }
    })?;
    let mut profiles = Vec::new();
    for k in KS {
        let by = |reading| fit(&data, &traces, &Options { k, mode: Mode::Select, target, reading });
        let (best, head) = (by(Reading::Best)?, by(Reading::Head)?);
        profiles.push(Profiles { best, head, fitted: by(Reading::Fitted)? });
        eprintln!("{name}: calibrated for K = {k}");
    }
    Ok(Set { data, traces, profiles })
}

/// The queries in the order of a calibration's split: (calibrating, testing).
pub(crate) fn halves(data: &Dataset, k: usize) -> (Vec<&Query>, Vec<&Query>) {
    let mut queries: Vec<(String, &Query)> =
        data.queries.iter().filter(|q| q.texts.len() > k).map(|q| (q.key(), q)).collect();
    queries.sort_by(|a, b| a.0.cmp(&b.0));
    queries.dedup_by(|a, b| a.0 == b.0);
    let half = |rest| queries.iter().skip(rest).step_by(2).map(|(_, query)| *query).collect();
    (half(0), half(1))
}
