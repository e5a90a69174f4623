//! How much earlier fitted readouts see a model's final order than its own head does, and what policies make of it.
//!
//! `cargo run --release -p grating --example readout_report -- OUT NAME=TRACES...`: each TRACES is a file of score traces with
//! hidden states, as `grating calibrate --traces` and the example `pruning_report` record them. Writes `OUT/readouts.md` and
//! `OUT/readouts-NAME.svg`.
//!
//! `... -- shift OUT SET=TRACES...`, where the files are of one model on several sets, writes `OUT/readouts-shift.md`: readouts fitted and
//! policies chosen on one set, used on another.
//!
//! Queries are ordered by their key. Readouts are fitted, and policies learned and chosen, on every second one; those
//! queries are read by readouts of the other four fifths of them, the other half of the queries by readouts that have seen
//! none of it. So no score that is reported was read by a readout that has seen its query.

mod layers;
mod picture;
mod policies;
mod shift;

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use grating::calibrate::Traces;
use grating::prune::Readout;
use grating::prune::readout::{self, Fit, Sample};
use grating::prune::{PruneError, ScoreTrace};
use rayon::prelude::*;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// One model's scores, read in two ways; queries in the same order.
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) head: Vec<ScoreTrace>,
    pub(crate) fitted: Vec<ScoreTrace>,
    keys: Vec<String>,
    traces: Traces,
    /// Of each layer but the last.
    pub(crate) readouts: Vec<Readout>,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [step, out, sets @ ..] = &args[..]
        && step == "shift"
    {
        let sets = sets.iter().map(|set| named(set)).collect::<Outcome<Vec<Model>>>()?;
        let file = Path::new(out).join("readouts-shift.md");
        return Ok(std::fs::write(file, shift::report(&sets)?)?);
    }
    let [out, models @ ..] = &args[..] else { return Err("OUT NAME=TRACES...".into()) };
    let mut report = String::from(
        "# Readouts\n\nWritten by `cargo run --release -p grating --example readout_report -- docs/measurements NAME=TRACES...`, from traces that `pruning_report` \
         recorded. Readouts fitted and policies chosen on one half of the queries; nothing is read by a readout that has seen its query.\n\n",
    );
    for model in models {
        let model = named(model)?;
        let name = model.name.as_str();
        let layers = layers::agreements(&model)?;
        layers::table(&mut report, &model, &layers);
        policies::table(&mut report, &model)?;
        let file = Path::new(out).join(format!("readouts-{name}.svg"));
        std::fs::write(file, picture::draw(name, &layers)?)?;
    }
    Ok(std::fs::write(Path::new(out).join("readouts.md"), report)?)
}

/// Reads `NAME=TRACES`.
fn named(given: &str) -> Outcome<Model> {
    let (name, file) = given.split_once('=').ok_or("NAME=TRACES")?;
    Model::read(name, Path::new(file))
}

impl Model {
    fn read(name: &str, file: &Path) -> Outcome<Self> {
        let traces = Traces::read(file)?;
        let mut keys: Vec<&str> = traces.keys().collect();
        keys.sort_unstable();
        let missing = || format!("{}: a query without a trace", file.display());
        let trace = |key: &&str| traces.get(key).cloned().ok_or_else(missing);
        let head: Vec<ScoreTrace> = keys.iter().map(trace).collect::<Result<_, _>>()?;
        let layers = traces.model.layers;
        let fit = |layer| fit(&traces, &keys, &head, layer);
        let fits: Vec<Fit> = (0..layers - 1).into_par_iter().map(fit).collect::<Result<_, _>>()?;
        let read = |(at, key): (usize, &&str)| -> Outcome<ScoreTrace> {
            let mut rows: Vec<Vec<f32>> = Vec::new();
            for (layer, fit) in fits.iter().enumerate() {
                rows.push(match at % 2 {
                    0 => fit.out_of_fold[at / 2].clone(),
                    _ => {
                        let states = traces.states(key, layer).ok_or("no hidden states")?;
                        let hidden = fit.readout.weights.len();
                        states.chunks_exact(hidden).map(|s| fit.readout.score(s)).collect()
                    }
                });
            }
            rows.push(head[at].layer(layers - 1).to_vec());
            Ok(ScoreTrace::from_vec(layers, head[at].candidates(), rows.concat())?)
        };
        let fitted = keys.iter().enumerate().map(read).collect::<Outcome<_>>()?;
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        let readouts = fits.into_iter().map(|fit| fit.readout).collect();
        Ok(Model { name: name.into(), head, fitted, keys, traces, readouts })
    }

    /// All queries, read by readouts that were fitted elsewhere.
    pub(crate) fn read_by(&self, readouts: &[Readout]) -> Outcome<Vec<ScoreTrace>> {
        let read = |(key, head): (&String, &ScoreTrace)| -> Outcome<ScoreTrace> {
            let mut rows: Vec<Vec<f32>> = Vec::new();
            for (layer, readout) in readouts.iter().enumerate() {
                let states = self.traces.states(key, layer).ok_or("no hidden states")?;
                let hidden = readout.weights.len();
                rows.push(states.chunks_exact(hidden).map(|s| readout.score(s)).collect());
            }
            rows.push(head.layer(head.layers() - 1).to_vec());
            Ok(ScoreTrace::from_vec(head.layers(), head.candidates(), rows.concat())?)
        };
        self.keys.iter().zip(&self.head).map(read).collect()
    }

    /// The half that was fitted to and the other one, of `traces`.
    pub(crate) fn halves(traces: &[ScoreTrace]) -> (Vec<ScoreTrace>, Vec<ScoreTrace>) {
        let half = |rest| traces.iter().skip(rest).step_by(2).cloned().collect();
        (half(0), half(1))
    }
}

/// A readout of one layer, fitted to every second query.
fn fit(
    traces: &Traces,
    keys: &[&str],
    head: &[ScoreTrace],
    layer: usize,
) -> Result<Fit, PruneError> {
    let half = || keys.iter().zip(head).step_by(2);
    let states: Vec<Vec<f32>> =
        half().map(|(key, _)| traces.states(key, layer).unwrap_or_default()).collect();
    let finals: Vec<Vec<f32>> =
        half().map(|(_, trace)| trace.layer(trace.layers() - 1).to_vec()).collect();
    let hidden = match (states.first(), finals.first()) {
        (Some(states), Some(scores)) => states.len() / scores.len(),
        _ => 0,
    };
    let samples: Vec<Sample<'_>> =
        states.iter().zip(&finals).map(|(states, scores)| Sample { states, scores }).collect();
    readout::fit(&samples, hidden)
}

pub(crate) fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string takes everything");
}
