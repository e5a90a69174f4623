//! Everything measured that `docs/pruning.md` speaks of, in three steps that can be run apart.
//!
//! `cargo run --release -p grating-benches --bin pruning_report -- STEP MODEL DATA WORK QUERIES SET...`, and for the last step OUT
//! instead of MODEL DATA and no QUERIES: see the steps.
//!
//! * `calibrate MODEL DATA WORK QUERIES SET...` records the traces that are missing, chooses policies on one half of each set's
//!   queries and measures them on the other; `WORK/SET.calibrated.json`.
//! * `time MODEL DATA WORK QUERIES PAIRS SET...` runs PAIRS queries of the test half in full and by each of the policies, in
//!   turn; `WORK/SET.timed.json`. For a quiet machine.
//! * `write WORK OUT SET...` writes `OUT/pruning-results.md` and for each set `OUT/pruning-SET.svg` and
//!   `OUT/pruning-SET-sweep.svg`.
//!
//! MODEL is a folder or `default`; DATA holds the sets in BEIR layout with pools; of each set at most QUERIES are sampled.
//! A set that is written `NAME@100` is without its first hundred queries.

mod calibrate;
mod settings;
mod study;
mod sweep;
mod sweep_plot;
mod tables;
mod times;

use std::error::Error;
use std::path::{Path, PathBuf};

use grating::calibrate::{Dataset, plot};
use grating::{ModelSource, Reranker, RerankerBuilder};
use grating_benches::dates;

use study::Study;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Of every promise.
pub(crate) const CONFIDENCE: f64 = 0.9;
/// How many texts are asked for.
pub(crate) const KS: [usize; 3] = [1, 5, 10];

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match &args[..] {
        ["calibrate", model, data, work, queries, sets @ ..] => {
            let paths = Paths { data: data.into(), work: work.into(), queries: queries.parse()? };
            sets.iter().try_for_each(|set| calibrate::run(&builder(model)?, &paths, set))
        }
        ["time", model, data, work, queries, pairs, sets @ ..] => {
            let paths = Paths { data: data.into(), work: work.into(), queries: queries.parse()? };
            let pairs = pairs.parse()?;
            sets.iter().try_for_each(|set| times::run(&builder(model)?, &paths, set, pairs))
        }
        ["write", work, out, sets @ ..] => write(Path::new(work), Path::new(out), sets),
        _ => Err("a step and its arguments: see the head of this program's main.rs".into()),
    }
}

/// Where things are.
pub(crate) struct Paths {
    data: PathBuf,
    pub(crate) work: PathBuf,
    queries: usize,
}

impl Paths {
    /// The sample of a set, and the set's name.
    pub(crate) fn sample(&self, set: &str) -> Outcome<Dataset> {
        let (name, first) = set.split_once('@').unwrap_or((set, "0"));
        let mut data = Dataset::read(&self.data.join(name))?;
        data.queries.drain(..first.parse::<usize>()?.min(data.queries.len()));
        Ok(data.sample(self.queries))
    }
}

fn builder(model: &str) -> Outcome<RerankerBuilder> {
    Ok(match model {
        "default" => Reranker::builder(),
        folder => Reranker::builder().source(ModelSource::parse(folder)?),
    })
}

fn write(work: &Path, out: &Path, sets: &[&str]) -> Outcome<()> {
    let dates = dates(sets.iter().flat_map(|set| study::files(work, set)));
    let sets: Vec<Study> = sets.iter().map(|set| Study::read(work, set)).collect::<Outcome<_>>()?;
    let mut report = String::new();
    tables::heading(&mut report, &sets, &dates);
    tables::promises(&mut report, &sets);
    tables::levels(&mut report, &sets);
    sweep::frontiers(&mut report, &sets);
    sweep::latency(&mut report, &sets);
    tables::readouts(&mut report, &sets);
    settings::table(&mut report, &sets);
    std::fs::write(out.join("pruning-results.md"), report)?;
    for set in &sets {
        let file = |end: &str| out.join(format!("pruning-{}{end}.svg", set.name));
        if let Some(last) = set.ks.last() {
            std::fs::write(file(""), plot(&last.promised))?;
        }
        if let Some(svg) = sweep_plot::draw(set)? {
            std::fs::write(file("-sweep"), svg)?;
        }
    }
    Ok(())
}
