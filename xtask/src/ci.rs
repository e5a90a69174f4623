//! `cargo xtask ci`: the steps that a change must pass, cheapest first.
//!
//! Three builds in all: clippy and the docs share the checked dependencies, the tests compile once, this program with them
//! (`.ci/run`), and the wheel takes what it can from theirs.

use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::process::{cargo, shown};
use crate::{Task, clients, python};

/// One step: what it is called and what it does.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    Run(Command),
    /// One of the other tasks, in this process: a `cargo xtask` would build this program anew, with its own features alone.
    Task(&'static str),
    /// Waits for what another thread does meanwhile, in words.
    Wait(JoinHandle<Result<()>>, &'static str),
}

fn steps() -> Vec<Step> {
    let run = |name, args: &[&str]| Step { name, action: Action::Run(cargo(args)) };
    let task = |name| Step { name, action: Action::Task(name) };
    // --lib: the binary `grating` and the library `grating` would write the same page.
    let mut docs = cargo(&["doc", "--workspace", "--lib", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    // Every interleaving of the prefetcher's threads, up to a bound: built apart, for loom's own atomics.
    let mut interleavings =
        cargo(&["test", "-p", "grating-io", "--release", "--lib", "--locked", "model"]);
    interleavings.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", "target/loom");
    vec![
        run("format", &["fmt", "--all", "--check"]),
        task("tidy"),
        run(
            "clippy",
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        ),
        Step { name: "docs", action: Action::Run(docs) },
        run("test", &["test", "--workspace", "--locked"]),
        task("packaging"),
        Step {
            name: "environments",
            action: Action::Wait(
                // The network is as slow whatever the processors do: it begins with the first step.
                thread::spawn(environments),
                "what the clients and the tests in Python need, from PyPI, npm and the system",
            ),
        },
        task("clients"),
        task("python"),
        // With the Python that has the wheel.
        task("pages"),
        Step { name: "interleavings", action: Action::Run(interleavings) },
    ]
}

/// Runs all steps; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    let steps = steps();
    let count = steps.len();
    let mut times = Vec::new();
    for (i, Step { name, action }) in steps.into_iter().enumerate() {
        let start = Instant::now();
        announce(&format!("[{}/{count}] {name}: {}", i + 1, action.shown()));
        action.run().with_context(|| format!("step {}/{count} ({name}) failed", i + 1))?;
        let seconds = start.elapsed().as_secs_f64();
        announce(&format!("[{}/{count}] {name}: passed in {seconds:.1} s", i + 1));
        times.push(format!("{name} {seconds:.0} s"));
    }
    announce(&format!("all {count} steps passed: {}", times.join(", ")));
    Ok(())
}

/// Fetches what the later steps would.
fn environments() -> Result<()> {
    python::install(python::PYTHON.as_ref())?;
    clients::install().map(drop)
}

fn announce(line: &str) {
    eprintln!("==> {line}");
}

impl Action {
    fn shown(&self) -> String {
        match self {
            Self::Run(command) => shown(command),
            Self::Task(name) => format!("cargo xtask {name}"),
            Self::Wait(_, what) => (*what).to_owned(),
        }
    }

    fn run(self) -> Result<()> {
        let mut command = match self {
            Self::Run(command) => command,
            Self::Task(name) => return Task::parse_from(["xtask", name]).run(),
            Self::Wait(thread, _) => match thread.join() {
                Ok(outcome) => return outcome,
                Err(_) => bail!("its thread panicked"),
            },
        };
        let shown = shown(&command);
        let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
        if !status.success() {
            bail!("`{shown}`: {status}");
        }
        Ok(())
    }
}
