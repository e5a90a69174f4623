//! `grating calibrate`.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use grating::calibrate::{
    CalibrateError, Dataset, Options, Reading, RecordOptions, SampleSize, Traces, fit, plot, record,
};
use grating::prune::Target;
use grating::{Judged, Measured, Profile, Pruning, Reranker};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::CalibrateArgs;
use crate::exit::ExitCode;
use crate::{engine, output};

pub(crate) fn run(args: &CalibrateArgs) -> Result<ExitCode> {
    // What would come to light after hours of computing comes to light now.
    for file in [Some(&args.out), args.traces.as_ref(), args.plot.as_ref()].into_iter().flatten() {
        output::check_file(file)?;
    }
    let data = Dataset::read(&args.data).map_err(grating::Error::from)?;
    let data = data.sample(args.queries.unwrap_or(usize::MAX));
    let target = Target { agreement: args.target_agreement, confidence: args.confidence };
    let policies = args.tokens.policies();
    // Readouts are fitted to whole texts; asked for by name they are refused.
    let reading = match args.readout.into() {
        Reading::Best if !policies.is_empty() => Reading::Head,
        Reading::Fitted if !policies.is_empty() => {
            return Err(grating::Error::from(CalibrateError::ReadoutsOfTokens).into());
        }
        reading => reading,
    };
    warn_of_too_few(&SampleSize::of(&data, args.top_k, target, reading)?, args);
    let record =
        RecordOptions::default().file(args.traces.as_deref()).states(reading != Reading::Head);
    let record = record.tokens(&policies);
    let reranker = build(args)?;
    engine::warn_of_instruction(args.instruction.as_deref(), &reranker);
    let traces = traces(&reranker, &data, record)?;
    let options = Options::new(args.top_k, target).mode(args.mode.into()).reading(reading);
    let profile = fit(&data, &traces, &options)?;
    profile.write(&args.out).map_err(grating::Error::from)?;
    if let Some(file) = &args.plot {
        std::fs::write(file, plot(&profile))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut out = output::stdout();
    match args.json {
        true => output::json(&mut out, &profile)?,
        false => print(&mut out, &profile)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn build(args: &CalibrateArgs) -> Result<Reranker> {
    let mut builder = engine::builder(args.model.resolve()?, &args.engine).pruning(Pruning::Off);
    if let Some(instruction) = &args.instruction {
        builder = builder.instruction(instruction);
    }
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    engine::build(builder)
}

/// Says before the work that no outcome of it can keep the promise.
fn warn_of_too_few(size: &SampleSize, args: &CalibrateArgs) {
    if size.is_enough() {
        return;
    }
    let (usable, k, testing) = (size.usable, args.top_k, size.testing);
    let needed = match (size.needed, size.usable_needed()) {
        (Some(needed), Some(usable)) => format!("{needed}, that is {usable} such queries in all"),
        _ => "more than ten million".into(),
    };
    eprintln!(
        "grating: the sample is too small for this promise: {usable} queries have more than {k} texts, which leaves \
         {testing} to test policies with, and an agreement of {} with confidence {} takes at least {needed}. No policy \
         can be certified; scores are recorded and the nearest miss is reported all the same",
        args.target_agreement, args.confidence
    );
}

fn traces(reranker: &Reranker, data: &Dataset, options: RecordOptions<'_>) -> Result<Traces> {
    let bar = progress_bar();
    if std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    }
    // In hundredths of a query, so that the bar moves where one takes minutes.
    bar.set_length(100 * data.queries.len() as u64);
    let traces = record(reranker, data, options, |progress| {
        bar.set_position(100 * progress.done as u64 + (100.0 * progress.query_share) as u64);
        bar.set_message(format!("{} of {} queries", progress.done, progress.queries));
    });
    bar.finish_and_clear();
    Ok(traces?)
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg} {eta}")
        .expect("the template is a constant that a test has drawn");
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden()).with_style(style)
}

pub(crate) fn print(out: &mut impl Write, profile: &Profile) -> Result<()> {
    let (calibration, promise) = (&profile.calibration, profile.promise);
    writeln!(
        out,
        "promise      mean agreement with the full model's top {} at least {}, with confidence {}",
        profile.k, promise.agreement, promise.confidence
    )?;
    writeln!(
        out,
        "queries      {} ({} test the policies, {} measure the chosen one)",
        profile.data.queries, calibration.test_queries, profile.data.test_queries
    )?;
    writeln!(
        out,
        "policies     {} tried, {} certified",
        calibration.policies, calibration.certified
    )?;
    if let Some(tested) = &calibration.chosen {
        writeln!(out, "policy       {}", tested.policy)?;
        if let Some(tokens) = &tested.tokens {
            writeln!(out, "tokens       {tokens}")?;
        }
        writeln!(
            out,
            "             agreement {:.4}, certified from {:.4}; {:.1} % of candidate-layers computed",
            tested.agreement,
            tested.lower_bound,
            100.0 * tested.cost
        )?;
    } else {
        writeln!(out, "policy       none can be certified: nothing will be pruned")?;
        if let Some(miss) = &calibration.nearest_miss {
            let needed = match miss.queries_needed {
                Some(queries) => format!("; {queries} test queries like these would do"),
                None => String::new(),
            };
            writeln!(out, "nearest miss {}", miss.policy)?;
            if let Some(tokens) = &miss.tokens {
                writeln!(out, "             {tokens}")?;
            }
            writeln!(
                out,
                "             agreement {:.4}, certified from {:.4}{needed}",
                miss.agreement, miss.lower_bound
            )?;
        }
    }
    if !profile.readings.is_empty() {
        let chosen = if profile.readouts.is_some() { "fitted" } else { "the model's own head" };
        writeln!(out, "readout      {chosen}; agreement with the final top {}:", profile.k)?;
        for reading in &profile.readings {
            writeln!(
                out,
                "             layer {:>2}  head {:.3}  fitted {:.3}",
                reading.layer, reading.head, reading.fitted
            )?;
        }
    }
    for (name, measured) in [("test half", &profile.measured), ("paper's", &profile.paper_measured)]
    {
        if let Some(measured) = measured {
            print_measured(out, name, measured)?;
        }
    }
    Ok(())
}

fn print_measured(out: &mut impl Write, name: &str, measured: &Measured) -> Result<()> {
    writeln!(
        out,
        "{name:<12} agreement {:.4}, {:.1} % of candidate-layers saved, {} queries",
        measured.agreement,
        100.0 * measured.saved,
        measured.queries
    )?;
    if let Some(Judged { full, pruned, .. }) = &measured.judged {
        writeln!(
            out,
            "             precision {:.4} (full model {:.4}), nDCG {:.4} ({:.4})",
            pruned.precision, full.precision, pruned.ndcg, full.ndcg
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_can_be_drawn() {
        super::progress_bar().finish_and_clear();
    }
}
