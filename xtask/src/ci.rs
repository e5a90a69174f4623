//! `cargo xtask ci`: the steps that a change must pass, cheapest first.
//!
//! Three builds in all: clippy and the docs share the checked dependencies, the tests compile once, and the wheel takes
//! what it can from theirs.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, shown};
use crate::tidy;

/// One step: what it is called and what it does.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    Run(Command),
    Tidy,
}

fn steps() -> Vec<Step> {
    let run = |name, args: &[&str]| Step { name, action: Action::Run(cargo(args)) };
    // --lib: the binary `grating` and the library `grating` would write the same page.
    let mut docs = cargo(&["doc", "--workspace", "--lib", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    // Every interleaving of the prefetcher's threads, up to a bound: built apart, for loom's own atomics.
    let mut interleavings =
        cargo(&["test", "-p", "grating-io", "--release", "--lib", "--locked", "model"]);
    interleavings.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", "target/loom");
    vec![
        run("format", &["fmt", "--all", "--check"]),
        Step { name: "tidy", action: Action::Tidy },
        run(
            "clippy",
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        ),
        Step { name: "docs", action: Action::Run(docs) },
        run("test", &["test", "--workspace", "--locked"]),
        run("packaging", &["xtask", "packaging"]),
        run("clients", &["xtask", "clients"]),
        run("python", &["xtask", "python"]),
        // With the Python that has the wheel.
        run("pages", &["xtask", "pages"]),
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

fn announce(line: &str) {
    eprintln!("==> {line}");
}

impl Action {
    fn shown(&self) -> String {
        match self {
            Self::Run(command) => shown(command),
            Self::Tidy => {
                "dependency arrows, the sources' form, what the documents say of them".to_owned()
            }
        }
    }

    fn run(self) -> Result<()> {
        let Self::Run(mut command) = self else { return tidy::run() };
        let shown = shown(&command);
        let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
        if !status.success() {
            bail!("`{shown}`: {status}");
        }
        Ok(())
    }
}
