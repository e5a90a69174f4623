//! `grating plan`.

use std::io::Write;

use anyhow::{Result, ensure};
use grating::{Device, Long, ModelInfo, Plan, PlannedDevice, RerankerBuilder};

use crate::args::PlanArgs;
use crate::exit::ExitCode;
use crate::{engine, notice, output};

/// Of a text, where nobody says.
const TOKENS: usize = 256;

pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let mut builder = engine::builder(args.model.resolve()?, &args.engine);
    if let Some(tokens) = args.max_length {
        builder = builder.max_length(tokens);
    }
    args.long.warn_of_idle();
    if let Some(memory) = args.device_memory {
        return elsewhere(args, builder, memory);
    }
    let reranker = engine::build(builder)?;
    let long = args.long.long().unwrap_or_default();
    let tokens = tokens(args, reranker.info(), &long);
    let plan = reranker.plan_long(args.candidates, tokens, &long);
    print(args, &plan.map_err(engine::with_option)?)
}

/// Of each text; where the model reads less it is said.
fn tokens(args: &PlanArgs, info: &ModelInfo, long: &Long) -> usize {
    let limit = info.max_length;
    let cut = !matches!(long, Long::Passages(_));
    if let Some(tokens) = args.tokens.filter(|tokens| cut && *tokens > limit) {
        eprintln!(
            "grating: texts of {tokens} tokens are cut at {limit}, which is planned for; {}",
            notice::how_to_raise(info)
        );
    }
    args.tokens.unwrap_or(TOKENS.min(limit))
}

/// For a device that need not be there.
fn elsewhere(args: &PlanArgs, builder: RerankerBuilder, memory: u64) -> Result<ExitCode> {
    ensure!(
        args.engine.device != Device::Metal,
        "plans for devices that are not there are for CUDA: leave out --device metal, or --device-memory"
    );
    let mut device = PlannedDevice::new(memory);
    device.link_bytes_per_second = args.link.unwrap_or(device.link_bytes_per_second);
    device.flops_per_second = args.flops.unwrap_or(device.flops_per_second);
    device.disk_bytes_per_second = args.disk.unwrap_or(device.disk_bytes_per_second);
    let long = args.long.long().unwrap_or_default();
    let tokens = tokens(args, &builder.info().map_err(engine::with_option)?, &long);
    let plan = builder.long(long).plan_for(&device, args.candidates, tokens);
    let plan = plan.map_err(engine::with_option)?;
    if !args.json {
        eprintln!(
            "grating: predicted for a device that was not asked; nothing was measured on one"
        );
    }
    print(args, &plan)
}

fn print(args: &PlanArgs, plan: &Plan) -> Result<ExitCode> {
    let mut out = output::stdout();
    match args.json {
        true => output::json(&mut out, plan)?,
        false => write!(out, "{plan}")?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
