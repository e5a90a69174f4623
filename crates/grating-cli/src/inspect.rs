//! `grating inspect`.

use std::io::Write;

use anyhow::Result;
use grating::{ModelInfo, ModelReport};

use crate::args::InspectArgs;
use crate::exit::ExitCode;
use crate::output;

pub(crate) fn run(args: &InspectArgs) -> Result<ExitCode> {
    let source = args.model.resolve()?;
    let report = grating::inspect(&source)?;
    let mut out = output::stdout();
    if args.json {
        output::json(&mut out, &report)?;
    } else {
        if let Some(info) = &report.info {
            print_info(&mut out, info)?;
        }
        if let Some(problem) = &report.problem {
            writeln!(out, "cannot be run    {}", output::message(problem))?;
        }
        if !args.summary {
            print_tensors(&mut out, &report)?;
        }
    }
    out.flush()?;
    Ok(if report.info.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_info(out: &mut impl Write, info: &ModelInfo) -> Result<()> {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    let rows = [
        ("model", info.name.clone()),
        ("family", format!("{} ({})", info.family, info.architecture)),
        ("head", format!("{}, {} read", info.head, mib(info.head_bytes))),
        (
            "template",
            format!(
                "a {}, {} instruction",
                info.template,
                if info.instruction { "with a place for an" } else { "without an" }
            ),
        ),
        ("prompt", format!("{} ({})", info.prompt, info.prompt_reason)),
        ("layers", format!("{} of {}", info.layers, mib(info.layer_bytes))),
        ("hidden", format!("{}, feed-forward {}", info.hidden, info.intermediate)),
        (
            "heads",
            format!("{} of {}, {} for keys and values", info.heads, info.head_dim, info.kv_heads),
        ),
        ("vocabulary", format!("{} rows, {} in the tokenizer", info.vocab, info.tokenizer_vocab)),
        ("embeddings", mib(info.embedding_bytes)),
        ("tokens", format!("{} at most, {} positions", info.max_length, info.max_positions)),
        (
            "weights",
            format!("{}, {} parameters, {}", mib(info.weight_bytes), info.parameters, info.dtype),
        ),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<12} {}", output::printable(&value))?;
    }
    Ok(())
}

/// One a line, tab-separated: name, type, shape, file, first byte + bytes.
fn print_tensors(out: &mut impl Write, report: &ModelReport) -> Result<()> {
    writeln!(out)?;
    for tensor in &report.tensors {
        let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let (name, dtype) = (&tensor.name, &tensor.dtype);
        writeln!(
            out,
            "{name}\t{dtype}\t{shape}\t{}\t{}+{}",
            tensor.file, tensor.offset, tensor.bytes
        )?;
    }
    Ok(())
}
