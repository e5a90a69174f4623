//! The profiles that ship with the default model.

use std::path::Path;

use grating::calibrate::{Calibrator, Dataset, Query, Reading, Traces};
use grating::prune::ScoreTrace;
use grating::{Mode, Profile};
use serde_json::{Value, json};

use crate::profiles::kind;
use crate::{Outcome, TARGET};

/// For so many texts.
const KS: [usize; 4] = [1, 5, 10, 20];

/// A list of profiles as JSON, certified on the queries of all sets together that have a trace in `work`.
pub(crate) fn profiles(data: &Path, work: &Path, sets: &[&str]) -> Outcome<String> {
    let traces = together(work, sets)?;
    let mut of_sets = Vec::<Vec<Query>>::new();
    for set in sets {
        let queries = Dataset::read(&data.join(set))?.queries;
        of_sets.push(queries.into_iter().filter(|q| traces.get(&q.key()).is_some()).collect());
    }
    let (last, before) = sets.split_last().ok_or("no set")?;
    let name = format!("{} and {last} together", before.join(", "));
    let mix = Dataset::new(name, of_sets.concat());
    let mut lines = Vec::new();
    for k in KS {
        let calibrator = Calibrator::new(&mix, &traces, k, Mode::Rank, Reading::Head)?;
        let mut profile = calibrator.profile(TARGET, Reading::Head)?;
        profile.model.name = "default".into();
        // What the certified policy was chosen from is no use to whoever prunes by it.
        profile.calibration.frontier.clear();
        profile.paper.frontier.clear();
        by_kind(&mut profile, &traces, &of_sets)?;
        lines.push(rounded(&profile)?.to_string());
    }
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// The recorded traces of all sets, which must be of one model.
fn together(work: &Path, sets: &[&str]) -> Outcome<Traces> {
    let mut lines = String::new();
    for set in sets {
        let file = work.join(format!("{set}.jsonl"));
        let hash = Traces::read(&file)?.model.hash;
        let text = std::fs::read_to_string(&file)?;
        let (heading, rest) = text.split_once('\n').ok_or("a file of traces is empty")?;
        match lines.is_empty() {
            true => lines = format!("{heading}\n"),
            false if !lines.contains(&hash) => return Err("traces of several models".into()),
            false => {}
        }
        // A last line that was not written to its end is left out.
        lines.push_str(&rest[..rest.rfind('\n').map_or(0, |end| end + 1)]);
    }
    let file = work.join("all.jsonl");
    std::fs::write(&file, lines)?;
    Ok(Traces::read(&file)?)
}

/// Signals of each set's requests, so that traffic that is like one of the sets is not taken for another than the sample.
fn by_kind(profile: &mut Profile, traces: &Traces, of_sets: &[Vec<Query>]) -> Outcome<()> {
    let policy = profile.policy.clone().ok_or("nothing is certified")?;
    (profile.signals, profile.kinds) = (Vec::new(), Vec::new());
    for queries in of_sets {
        let mut contested: Vec<(String, &ScoreTrace)> = queries
            .iter()
            .filter(|query| query.texts.len() > profile.k)
            .filter_map(|query| Some((query.key(), traces.get(&query.key())?)))
            .collect();
        contested.sort_by(|a, b| a.0.cmp(&b.0));
        let requests: Vec<ScoreTrace> =
            contested.into_iter().map(|(_, trace)| trace.clone()).collect();
        let signals = kind(&policy, &requests, profile.k)?;
        if !signals.is_empty() {
            profile.kinds.push(signals.len());
            profile.signals.extend(signals);
        }
    }
    Ok(())
}

/// Five digits of the signals are enough to compare with.
fn rounded(profile: &Profile) -> Outcome<Value> {
    let mut value = serde_json::to_value(profile)?;
    let signals = value["signals"].as_array_mut().ok_or("no signals")?;
    for number in signals.iter_mut().filter_map(Value::as_array_mut).flatten() {
        let digits = format!("{:.4e}", number.as_f64().ok_or("no number")?);
        *number = json!(digits.parse::<f64>()?);
    }
    Ok(value)
}
