//! What `docs/pruning.md` says of pruning that learns from the traffic, simulated on recorded scores.
//!
//! `cargo run --release -p grating-benches --bin learning_report -- STEP ...`:
//!
//! * `record MODEL DATA WORK QUERIES SET...` records the traces that are missing into `WORK/SET.jsonl`, of at most QUERIES of
//!   a set's queries. MODEL is a folder or `default`, DATA holds the sets in BEIR layout with pools.
//! * `simulate WORK OUT REPETITIONS SET...` writes `OUT/learning-results.md`: streams of requests drawn from a set's queries
//!   with replacement, so that what a policy does on the traffic is known exactly: its mean over the set.
//! * `ship DATA WORK OUT SET...` calibrates the profiles that ship with the default model on the recorded queries of all SETs together, and
//!   writes `OUT/grating-profile.json`.
//! * `profiles WORK OUT FILE REPETITIONS SET...` writes `OUT/default-profiles.md`: what the profiles of this file do on each of the sets.

mod profiles;
mod shifts;
mod ship;
mod simulate;
mod tables;

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use grating::calibrate::{Dataset, RecordOptions, Traces, record};
use grating::prune::{ScoreTrace, Target};
use grating::{ModelSource, Profile, Pruning, Reranker};

use shifts::Pair;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The promise that is simulated.
pub(crate) const TARGET: Target = Target { agreement: 0.95, confidence: 0.95 };
/// How many texts are asked for.
pub(crate) const KS: [usize; 3] = [1, 5, 10];

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match &args[..] {
        ["record", model, data, work, queries, sets @ ..] => {
            let builder = match *model {
                "default" => Reranker::builder(),
                folder => Reranker::builder().source(ModelSource::parse(folder)?),
            };
            let reranker = builder.pruning(Pruning::Off).build()?;
            std::fs::create_dir_all(work)?;
            for set in sets {
                let data = Dataset::read(&Path::new(data).join(set))?.sample(queries.parse()?);
                let file = Path::new(work).join(format!("{set}.jsonl"));
                let options = RecordOptions::default().file(Some(&file));
                record(&reranker, &data, options, |at| {
                    if at.done % 20 == 0 && at.query_share == 0.0 {
                        eprintln!("{set}: {} of {} queries", at.done, at.queries);
                    }
                })?;
            }
            Ok(())
        }
        ["simulate", work, out, repetitions, sets @ ..] => {
            let sets = sets.iter().map(|set| Set::read(Path::new(work), set));
            let sets = sets.collect::<Outcome<Vec<Set>>>()?;
            let text = tables::report(&sets, repetitions.parse()?)?;
            Ok(std::fs::write(PathBuf::from(out).join("learning-results.md"), text)?)
        }
        ["ship", data, work, out, sets @ ..] => {
            let file = PathBuf::from(out).join("grating-profile.json");
            Ok(std::fs::write(file, ship::profiles(Path::new(data), Path::new(work), sets)?)?)
        }
        ["profiles", work, out, file, repetitions, sets @ ..] => {
            let sets = sets.iter().map(|set| Set::read(Path::new(work), set));
            let sets = sets.collect::<Outcome<Vec<Set>>>()?;
            let profiles: Vec<Profile> = serde_json::from_slice(&std::fs::read(file)?)?;
            let text = profiles::report(&profiles, &sets, repetitions.parse()?)?;
            Ok(std::fs::write(PathBuf::from(out).join("default-profiles.md"), text)?)
        }
        _ => Err("a step and its arguments: see the head of this program's main.rs".into()),
    }
}

/// The traffic: what the full model says of each query's pool.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) traces: Vec<ScoreTrace>,
    /// The same, with the queries' keys.
    pub(crate) keyed: Vec<(String, ScoreTrace)>,
}

impl Set {
    fn read(work: &Path, name: &str) -> Outcome<Self> {
        let file = work.join(format!("{name}.jsonl"));
        let recorded = Traces::read(&file)?;
        let mut keys: Vec<&str> = recorded.keys().collect();
        keys.sort_unstable();
        let keyed = keys
            .iter()
            .filter_map(|key| recorded.get(key).map(|trace| ((*key).to_owned(), trace.clone())));
        let keyed: Vec<(String, ScoreTrace)> = keyed.collect();
        let traces = keyed.iter().map(|(_, trace)| trace.clone()).collect();
        Ok(Set { name: name.to_owned(), file, traces, keyed })
    }
}

/// All requests with a choice, and which of them are whose.
pub(crate) struct Traffics {
    pub(crate) k: usize,
    pub(crate) requests: Vec<ScoreTrace>,
    pub(crate) sets: Vec<(String, Range<usize>)>,
}

impl Traffics {
    pub(crate) fn of(sets: &[Set], k: usize) -> Self {
        let mut traffics = Traffics { k, requests: Vec::new(), sets: Vec::new() };
        for set in sets {
            let start = traffics.requests.len();
            let contested = set.traces.iter().filter(|trace| trace.candidates() > k);
            traffics.requests.extend(contested.cloned());
            traffics.sets.push((set.name.clone(), start..traffics.requests.len()));
        }
        traffics
    }

    pub(crate) fn requests(&self, set: usize) -> &[ScoreTrace] {
        &self.requests[self.sets[set].1.clone()]
    }

    pub(crate) fn pair(&self, first: usize, second: usize) -> Pair {
        Pair { first: self.sets[first].1.clone(), second: self.sets[second].1.clone() }
    }
}
