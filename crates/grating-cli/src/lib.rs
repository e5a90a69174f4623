//! The `grating` command: rerank texts, inspect or quantize a model, find out what is wrong with one.
//!
//! A library, so that another program can carry the command: the Python package does.
//!
//! Exit codes: 0 success, 1 failure (or an unhealthy model), 2 wrong usage, 130 interrupted.
#![deny(unsafe_code)]

/// As the standard library's, but a closed standard error is no reason to panic.
macro_rules! eprintln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod args;
mod calibrate;
mod config;
mod deadline;
mod doctor;
mod engine;
mod exit;
mod generate;
mod input;
mod inspect;
mod interrupt;
mod long;
mod model;
mod models;
mod notice;
mod output;
mod plan;
mod profile;
mod quantize;
mod rerank;
#[cfg(feature = "serve")]
mod serve;
pub mod units;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command, ProfileCommand};
use exit::ExitCode;

/// Runs the command of `arguments`, of which the first is the program's name, and returns its exit code. Wrong usage and
/// `--help` end the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match parsed(&arguments) {
        Ok(Ok(cli)) => carry_out(cli.command).code(),
        Ok(Err(error)) => wrong_usage(error, &arguments),
        Err(error) => {
            eprintln!("grating: {}", output::message(&without_repetition(&error)));
            ExitCode::WRONG_USAGE.code()
        }
    }
}

/// The command line with what a file of options adds to it, or what is wrong with the one or the other.
fn parsed(arguments: &[OsString]) -> anyhow::Result<clap::error::Result<Cli>> {
    let mut command = command();
    let mut matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(all) = config::added(&mut command, &matches, arguments)? {
        match command.try_get_matches_from(all) {
            Ok(with_file) => matches = with_file,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Cli::from_arg_matches(&matches))
}

fn carry_out(command: Command) -> ExitCode {
    let result = match command {
        Command::Rerank(args) => rerank::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Profile(ProfileCommand::Show(args)) => profile::show(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Models(args) => models::list(&args),
        Command::Pull(args) => models::pull(&args),
        Command::Doctor(args) => doctor::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
    };
    match result {
        Ok(code) => code,
        // The reader of a pipe has seen enough; that is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if is_cancelled(&error) => interrupt::exit_code(),
        Err(error) => {
            // Names and texts out of files may hold anything.
            eprintln!("grating: {}", output::message(&without_repetition(&error)));
            ExitCode::FAILURE
        }
    }
}

/// The command with all of its options.
fn command() -> clap::Command {
    let command = config::with_file(Cli::command());
    #[cfg(feature = "serve")]
    let command = serve::with_environment(command);
    command
}

/// The parser of the arguments does not say which of them is no text.
fn wrong_usage(error: clap::Error, arguments: &[OsString]) -> ! {
    let other = arguments.iter().skip(1).find(|argument| argument.to_str().is_none());
    match other.filter(|_| error.kind() == ErrorKind::InvalidUtf8) {
        Some(argument) => {
            let argument = output::printable(&argument.to_string_lossy());
            let message = format!(
                "`{argument}` is not UTF-8; only files, folders and models may have such names"
            );
            Cli::command().error(ErrorKind::InvalidUtf8, message).exit()
        }
        None => error.exit(),
    }
}

/// The error and its causes, less what the words before have said: the library's errors quote their causes themselves.
fn without_repetition(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        match (said.is_empty(), said.contains(&cause)) {
            (true, _) => cause,
            (_, true) => said,
            (_, false) => format!("{said}: {cause}"),
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn is_cancelled(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(grating::Error::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("disk on fire");
        let quoting = format!("cannot read x: {cause}; look again");
        let error = anyhow::Error::new(cause).context(quoting).context("no model");
        assert_eq!(without_repetition(&error), "no model: cannot read x: disk on fire; look again");
        assert_eq!(without_repetition(&anyhow::anyhow!("alone")), "alone");
    }
}
