//! `grating profile show`: what a file says of pruning.

use std::io::Write;

use anyhow::Result;
use grating::prune::online::{Phase, Status};
use grating::{LearnedPruning, LearningError, Profile};

use crate::args::ShowArgs;
use crate::exit::ExitCode;
use crate::{calibrate, output};

/// Prints a calibrated profile or what was learned, whichever the file holds.
pub(crate) fn show(args: &ShowArgs) -> Result<ExitCode> {
    let mut out = output::stdout();
    match LearnedPruning::read(&args.file) {
        Ok(learned) if args.json => output::json(&mut out, &learned)?,
        Ok(learned) => print(&mut out, &learned)?,
        Err(LearningError::Malformed { .. }) => {
            let profile = Profile::read(&args.file).map_err(grating::Error::from)?;
            match args.json {
                true => output::json(&mut out, &profile)?,
                false => calibrate::print(&mut out, &profile)?,
            }
        }
        Err(error) => return Err(grating::Error::from(error).into()),
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut impl Write, learned: &LearnedPruning) -> Result<()> {
    let (model, promise) = (&learned.model, learned.promise);
    writeln!(out, "model        {} ({} layers)", output::printable(&model.name), model.layers)?;
    writeln!(
        out,
        "promise      mean agreement with the full model's top K at least {}, with confidence {}",
        promise.agreement, promise.confidence
    )?;
    if learned.learned.is_empty() {
        writeln!(out, "learned      nothing yet")?;
    }
    for status in &learned.learned {
        writeln!(out, "K = {:<8} {}", status.k, words(status))?;
        if let Some(policy) = &status.policy {
            writeln!(out, "             {policy}")?;
        }
    }
    Ok(())
}

/// What is known for one K, in words.
pub(crate) fn words(status: &Status) -> String {
    let requests = format!("{} requests, {} of them in full", status.requests, status.full);
    let alarms = match status.suspicions + status.alarms {
        0 => String::new(),
        shifts => format!("; the traffic seemed to have shifted {shifts} times"),
    };
    let known = match status.phase {
        Phase::Exploring => "exploring: everything is computed".to_owned(),
        Phase::Testing => format!("testing {} policies: everything is computed", status.policies),
        _ => format!(
            "pruning with {:.1} % of candidate-layers, agreement {:.3}, {} of {} policies certified; {:.0} % audited",
            100.0 * status.cost.unwrap_or(1.0),
            status.agreement.unwrap_or(1.0),
            status.certified,
            status.policies,
            100.0 * status.audit_share
        ),
    };
    format!("{known} ({requests}{alarms})")
}
