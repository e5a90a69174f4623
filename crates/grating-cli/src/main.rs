//! The `grating` command: rerank texts, inspect or quantize a model, find out what is wrong with one.
//!
//! Exit codes: 0 success, 1 failure (or an unhealthy model), 2 wrong usage.
#![deny(unsafe_code)]

mod args;
mod calibrate;
mod doctor;
mod engine;
mod input;
mod inspect;
mod model;
mod output;
mod plan;
mod quantize;
mod rerank;
mod units;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Rerank(args) => rerank::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    };
    match result {
        Ok(code) => code,
        // The reader of a pipe has seen enough; that is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grating: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
}
