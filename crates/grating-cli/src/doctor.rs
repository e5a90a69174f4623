//! `grating doctor`.

use std::io::Write;

use anyhow::Result;
use grating::{CheckStatus, DoctorReport};

use crate::args::DoctorArgs;
use crate::exit::ExitCode;
use crate::output;

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let source = args.model.resolve()?;
    let report = grating::doctor(&source);
    let mut out = output::stdout();
    match args.json {
        true => output::json(&mut out, &report)?,
        false => print(&mut out, &report)?,
    }
    out.flush()?;
    Ok(if report.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut impl Write, report: &DoctorReport) -> Result<()> {
    writeln!(out, "model: {}", report.model)?;
    writeln!(out, "devices: {}", output::message(&report.devices))?;
    for check in &report.checks {
        let mark = match check.status {
            CheckStatus::Pass => "pass",
            CheckStatus::Warn => "warn",
            CheckStatus::Fail => "FAIL",
            CheckStatus::Skip => "skip",
        };
        writeln!(out, "{mark}  {}: {}", check.name, output::message(&check.detail))?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "      to do: {remedy}")?;
        }
    }
    let verdict =
        if report.healthy() { "nothing is wrong with it" } else { "this model cannot be trusted" };
    Ok(writeln!(out, "{verdict}")?)
}
