//! `grating quantize`.

use std::io::Write;

use anyhow::Result;
use grating::QuantizeReport;

use crate::args::QuantizeArgs;
use crate::exit::ExitCode;
use crate::{interrupt, output};

pub(crate) fn run(args: &QuantizeArgs) -> Result<ExitCode> {
    let source = args.model.resolve()?;
    let cancel = interrupt::token();
    let report = grating::quantize_cancellable(&source, args.format, &args.out, &cancel)?;
    if report.in_format == 0 {
        eprintln!(
            "grating: nothing is stored as {}: no matrix has rows of whole blocks of it; the list says what became of them",
            args.format
        );
    }
    let mut out = output::stdout();
    match args.json {
        true => output::json(&mut out, &report)?,
        false => print(&mut out, args, &report)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut impl Write, args: &QuantizeArgs, report: &QuantizeReport) -> Result<()> {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    let (now, before) = (mib(report.bytes_after), mib(report.bytes_before));
    writeln!(out, "{}: {now} of weights, before {before}", args.out.display())?;
    for row in &report.stored {
        writeln!(out, "{:<5} {:>5} tensors, {}", row.dtype, row.tensors, mib(row.bytes))?;
    }
    Ok(())
}
