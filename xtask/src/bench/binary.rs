//! The measured binary and what it can do.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Bench;
use super::cells::digest;
use crate::process::{cargo, stdout_of};

/// A `grating` command line.
pub(super) struct Binary {
    pub(super) path: PathBuf,
    /// SHA-256 of the file, first 64 bits: another binary is another measurement.
    pub(super) digest: String,
    /// Long options of `grating rerank`, with their dashes.
    flags: HashSet<String>,
}

impl Binary {
    /// The binary at `path`, or a release build of this workspace.
    pub(super) fn find_or_build(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => std::path::absolute(path)?,
            None => built("grating-cli", "grating")?,
        };
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut help = Command::new(&path);
        help.args(["rerank", "--help"]);
        let help = String::from_utf8_lossy(&stdout_of(help)?).into_owned();
        Ok(Self { digest: digest(&bytes), flags: flags(&help), path })
    }

    /// The first of the options in `args` that this build lacks.
    pub(super) fn lacks<'a>(&self, args: &'a [String]) -> Option<&'a str> {
        let mut options = args.iter().map(String::as_str).filter(|arg| arg.starts_with("--"));
        options.find(|option| !self.flags.contains(*option))
    }

    /// `grating` with `args`.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args);
        command
    }
}

impl Bench {
    /// The example program `name`: where the arguments say, or a release build.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf> {
        match &self.args.programs {
            Some(folder) => Ok(folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))),
            None => built("grating-examples", name),
        }
    }
}

/// Builds a binary of the workspace in release form; where it lies.
fn built(package: &str, binary: &str) -> Result<PathBuf> {
    build(package, binary, &["--release"])
}

/// Builds a binary with cargo's `options`.
pub(super) fn build(package: &str, binary: &str, options: &[&str]) -> Result<PathBuf> {
    let mut args = vec!["build", "--package", package, "--bin", binary];
    args.extend(["--message-format=json-render-diagnostics"]);
    args.extend(options);
    let messages = stdout_of(cargo(&args))?;
    let executable = String::from_utf8_lossy(&messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == binary)
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    let executable = executable.with_context(|| format!("cargo built no binary {binary}"))?;
    ensure!(executable.exists(), "cargo named {}, which is not there", executable.display());
    Ok(executable)
}

/// Every `--word` of a help text.
fn flags(help: &str) -> HashSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    help.split(|c: char| !word(c))
        .filter(|token| token.starts_with("--") && token.len() > 2)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_the_help() {
        let help =
            "  -k, --top-k <K>  How many\n      --chunk-tokens <TOKENS>\n  --json, or [--stats]";
        let binary = Binary { path: PathBuf::new(), digest: String::new(), flags: flags(help) };
        let args = ["--top-k", "5", "--window", "all"].map(str::to_owned);
        assert_eq!(binary.lacks(&args), Some("--window"));
        assert_eq!(binary.lacks(&args[..2]), None);
        let args = ["--json", "--chunk-tokens", "--top"].map(str::to_owned);
        assert_eq!(binary.lacks(&args), Some("--top"));
    }
}
