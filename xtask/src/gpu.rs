//! `cargo xtask gpu`: all that a machine with a card needs to check the CUDA backend, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{cargo, root, stdout_of, succeed};

/// What is carried to another machine at most, bytes.
const MOST_BYTES: u64 = 60_000_000;
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
    let bytes = carried(&folder)?;
    eprintln!("{}: {:.1} MB", folder.display(), bytes as f64 / 1e6);
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

/// Bytes of a folder; an error where they are too many to be carried.
fn carried(folder: &Path) -> Result<u64> {
    let bytes = size(folder)?;
    ensure!(
        bytes <= MOST_BYTES,
        "{bytes} bytes in {} are too many: {MOST_BYTES} are carried at most",
        folder.display()
    );
    Ok(bytes)
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

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)] // helpers of tests should panic, too
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    use super::*;

    const SCRIPT: &str = include_str!("../gpu/run.sh");
    const FIGURE: &str = r#"{"ms": 1.5}"#;

    /// Runs the script beside programs that do no more than these lines of `sh`.
    fn run(folder: &Path, [card, xtask]: [&str; 2], seconds: &str) -> Output {
        fs::write(folder.join("run.sh"), SCRIPT).unwrap();
        for (name, lines) in [("card", card), ("xtask", xtask)] {
            let program = folder.join(name);
            fs::write(&program, format!("#!/bin/sh\n{lines}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("sh");
        command.arg(folder.join("run.sh")).arg(folder.join("out")).arg("qwen3-tiny");
        command.env("GRATING_SECONDS", seconds).output().unwrap()
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A card that passes, and figures of the model that it is told.
    fn passing() -> String {
        format!(
            r#"case "$*" in *skip*) echo "test result: ok";; *) [ -d "$GRATING_FIGURES" ] && echo '{FIGURE}';; esac"#
        )
    }

    const MAKES: &str = r#"for last in "$@"; do :; done; mkdir -p "$last""#;

    #[test]
    fn no_more_is_packed_than_is_carried() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("goldens");
        fs::create_dir(&within).unwrap();
        let file = |path: PathBuf, bytes| File::create(path).unwrap().set_len(bytes).unwrap();
        file(within.join("a"), MOST_BYTES - 7);
        file(folder.path().join("card"), 7);
        assert_eq!(carried(folder.path()).unwrap(), MOST_BYTES);
        file(folder.path().join("run.sh"), 1);
        let error = carried(folder.path()).unwrap_err().to_string();
        assert!(error.contains("60000001 bytes"), "{error}");
    }

    #[test]
    fn shapes_are_those_that_are_known() {
        let (_, shapes) = SCRIPT.split_once("${*:-").unwrap();
        let (shapes, _) = shapes.split_once('}').unwrap();
        let known = crate::models::shape_names();
        let shapes: Vec<&str> = shapes.split(' ').collect();
        assert!(shapes.len() >= 4, "{shapes:?}");
        shapes.iter().for_each(|shape| assert!(known.contains(shape), "{shape}"));
    }

    #[test]
    fn a_card_that_passes_is_measured_on_weights_that_are_made_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(folder.path(), [&passing(), MAKES], "60");
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("test result: ok"), "{}", said(&output));
        let figures = fs::read_to_string(folder.path().join("out/qwen3-tiny.json")).unwrap();
        assert_eq!(figures.trim(), FIGURE);
    }

    #[test]
    fn a_machine_without_a_card_that_can_be_used_is_told_why_and_nothing_is_made_for_it() {
        for why in [
            "no CUDA driver found (libcuda.so.1 or nvcuda.dll)",
            "there is no CUDA device 0: this machine has 0",
            "Card 9 has compute capability 7.5: the kernels need 8.0",
            "CUDA: opening the device failed: out of memory",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let card = format!("echo 'panicked at tests/card.rs:'; echo '{why}'; exit 101");
            let output = run(folder.path(), [&card, MAKES], "60");
            assert_eq!(output.status.code(), Some(1));
            assert!(said(&output).contains(why), "{}", said(&output));
            assert!(!folder.path().join("out/models").exists());
        }
    }

    #[test]
    fn what_fails_or_has_no_time_left_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(folder.path(), [&passing(), "exit 3"], "60");
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("weights of qwen3-tiny: failed"), "{}", said(&output));
        let slow = r#"case "$*" in *skip*) echo "test result: ok";; *) sleep 30;; esac"#;
        let output = run(folder.path(), [slow, MAKES], "2");
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("qwen3-tiny: no time left"), "{}", said(&output));
    }
}
