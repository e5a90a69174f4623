//! `cargo xtask pages`: what the README and the guide tell their readers to run is run.
//!
//! A fenced block whose language is followed by `run` is run as it stands: `console` by the shell (lines at a prompt are
//! commands, the lines below what they print), `python` by the environment of `cargo xtask python`. Blocks of one
//! page share a folder, in which the repository's `examples` are. `…` stands for any text of a line, or for any lines.
//! Published weights, and files that are the reader's own, have stand-ins ([`stand_in`]). A server that a page leaves
//! running ends once it was ready.

mod blocks;
mod output;
mod stand_in;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, root, succeed};
use blocks::{Block, Language};

/// Pages for those who come new, from the root of the workspace.
const PAGES: [&str; 2] = ["README.md", "docs/guide.md"];
/// Ends with the first command that fails, and ends what it has started. A reader takes a moment until a server is ready.
const START: &str = "set -euo pipefail
ended() { kill $(jobs -p) 2>/dev/null && wait || true; }
trap ended EXIT
ready() {
    for i in $(seq 300); do
        kill -0 $! || break
        curl -sf localhost:8080/health >/dev/null && return
        sleep 0.1
    done
    echo 'the server does not get ready' >&2
    return 1
}
";
/// What no command prints: between it and the next one stands what the command before has printed.
const SEAM: &str = "\u{1}seam";

/// Arguments of `cargo xtask pages`.
#[derive(clap::Args)]
pub(crate) struct PagesArgs {
    /// Run with the release profile, as readers do
    #[arg(long)]
    release: bool,
    /// Python that has the package, for blocks of Python
    #[arg(long, value_name = "PATH", default_value = "target/python/bin/python")]
    python: PathBuf,
}

/// Runs the marked blocks of all pages; the first that fails ends it.
pub(crate) fn run(args: &PagesArgs) -> Result<()> {
    // With the features of the whole workspace, as the tests build it; in the release profile as readers do.
    let build: &[&str] = match args.release {
        false => &["build", "--locked", "--workspace", "--bin", "grating"],
        true => &["build", "--locked", "--release", "--package", "grating-cli"],
    };
    succeed(&mut cargo(build))?;
    rust_is_tested()?;
    let mut count = 0;
    for page in PAGES {
        let text = read(page)?;
        let folder = tempfile::tempdir().context("cannot make a folder to work in")?;
        symlink(root().join("examples"), folder.path().join("examples"))?;
        stand_in::files(folder.path())?;
        for block in blocks::marked(&text) {
            let place = format!("{page}:{}", block.line);
            eprintln!("==> {place}");
            match block.language {
                Language::Console => console(&block, args, folder.path()),
                Language::Python => python(&block, args, folder.path()),
            }
            .with_context(|| place)?;
            count += 1;
        }
    }
    ensure!(count > 0, "no page has a block to run");
    eprintln!("{count} blocks ran");
    Ok(())
}

/// A file of the repository.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// The README's Rust stands in that of the facade, too, whose tests run it.
fn rust_is_tested() -> Result<()> {
    let (page, tested) = (read("README.md")?, read("crates/grating/README.md")?);
    let block = page.split("```rust").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.context("README.md has no Rust")?;
    ensure!(tested.contains(block), "README.md's Rust is not that of crates/grating/README.md");
    Ok(())
}

/// The commands in one shell, so that what one of them starts is there for the next.
fn console(block: &Block<'_>, args: &PagesArgs, folder: &Path) -> Result<()> {
    let commands = output::commands(block.text)?;
    let mut script = String::from(START);
    for command in &commands {
        let words = stand_in::instead(command.words, &root().join(&args.python), args.release);
        script.push_str(&started(&words));
        script.push_str(&format!("printf '%s\\n' '{SEAM}'\n"));
    }
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).current_dir(folder).env("PATH", path(args)?);
    let printed = printed(shell)?;
    let parts: Vec<&str> = printed.split(&format!("{SEAM}\n")).collect();
    for (command, printed) in commands.iter().zip(parts) {
        output::compare(&command.printed, printed)
            .with_context(|| format!("`{}`", command.words))?;
    }
    Ok(())
}

/// What the shell does for a command. A server goes on beside it, until the block ends or, where the page does not put it
/// there, until it is ready.
fn started(command: &str) -> String {
    let (behind, words) = match command.trim_end().strip_suffix('&') {
        Some(words) => (true, words),
        None => (false, command),
    };
    let words = here(words.trim_end());
    match (behind, words.split_whitespace().any(|word| word == "serve")) {
        (true, _) => format!("{words} &\nready\n"),
        (false, true) => format!("{words} >/dev/null &\nready\nended\n"),
        (false, false) => format!("{words}\n"),
    }
}

/// `cargo`, and what lies where it builds, run where the workspace is; the shell's process is theirs.
fn here(command: &str) -> String {
    match command.starts_with("cargo ") || command.contains(" target/") {
        true => format!("(cd '{}' && exec {command})", root().display()),
        false => command.to_owned(),
    }
}

/// The search path with `grating` and the Python that has the package before all others.
fn path(args: &PagesArgs) -> Result<std::ffi::OsString> {
    let profile = if args.release { "release" } else { "debug" };
    let programs = root().join("target").join(profile);
    let python = root().join(&args.python).parent().map(Path::to_path_buf).unwrap_or_default();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = [programs, python].into_iter().chain(std::env::split_paths(&others));
    Ok(std::env::join_paths(all)?)
}

fn python(block: &Block<'_>, args: &PagesArgs, folder: &Path) -> Result<()> {
    let mut python = Command::new(root().join(&args.python));
    python.args(["-c", block.text]).current_dir(folder);
    printed(python).map(drop)
}

/// What a program prints; it must succeed.
fn printed(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let command = command.stdin(Stdio::null()).stderr(Stdio::inherit()).env("HF_HUB_OFFLINE", "1");
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(printed),
        false => bail!("{}; it had printed:\n{printed}", output.status),
    }
}
