//! `cargo xtask gpu`: all that a machine with a card needs to check the CUDA backend, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{cargo, root, stdout_of, succeed};

/// What is carried to another machine at most, bytes.
const MOST_BYTES: u64 = 60 << 20;
/// Checkpoints that conformance is held against, from the root of the workspace.
const GOLDENS: &str = "crates/grating-model/tests/goldens";

/// Arguments of `cargo xtask gpu`.
#[derive(clap::Args)]
pub(crate) struct GpuArgs {
    /// Profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Only make the folder; run its `run.sh` on the machine with the card
    #[arg(long)]
    only_pack: bool,
}

/// Fills target/gpu, and runs what is in it.
pub(crate) fn run(args: &GpuArgs) -> Result<()> {
    let root = root();
    let folder = root.join("target/gpu");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let profile = ["--profile", args.profile.as_str()];
    let tests = ["test", "--no-run", "-p", "grating-conformance", "--test", "card"];
    take(&[&tests[..], &profile].concat(), "card", &folder)?;
    take(&[&["build", "-p", "xtask"][..], &profile].concat(), "xtask", &folder)?;
    for name in ["run.sh", "transformers_cuda.py"] {
        fs::copy(root.join("xtask/gpu").join(name), folder.join(name))?;
    }
    copy_folder(&root.join(GOLDENS), &folder.join("goldens"))?;
    let bytes = size(&folder)?;
    ensure!(bytes <= MOST_BYTES, "{} MiB in {} are too many", bytes >> 20, folder.display());
    eprintln!("{}: {} MiB", folder.display(), bytes >> 20);
    match args.only_pack {
        true => Ok(()),
        false => succeed(std::process::Command::new("sh").arg(folder.join("run.sh"))),
    }
}

/// Builds with cargo, and copies the program that comes of it, without its symbols.
fn take(arguments: &[&str], name: &str, folder: &Path) -> Result<()> {
    let json = stdout_of(cargo(&[arguments, &["--message-format", "json"]].concat()))?;
    let messages = json.split(|&byte| byte == b'\n');
    let mut programs = messages.filter_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        let named = message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| named).map(PathBuf::from)
    });
    let program =
        programs.next_back().with_context(|| format!("cargo made no program `{name}`"))?;
    let copy = folder.join(name);
    fs::copy(program, &copy)?;
    // Where there is no `strip` it is larger.
    _ = std::process::Command::new("strip").arg(&copy).status();
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?, to);
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
