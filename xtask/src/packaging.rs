//! `cargo xtask packaging`: the files for packages, checked where nothing runs them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::clients::{done, venv};
use crate::process::{command, root};

/// The unit and the Dockerfile, by their linters.
pub(crate) fn run() -> Result<()> {
    let (packaging, installed) = (root().join("packaging"), root().join("target/clients"));
    fs::create_dir_all(&installed)?;
    let python = venv(&packaging, &installed, "linters", "requirements.txt")?;
    let hadolint = python.with_file_name("hadolint");
    done(command(hadolint, &["packaging/Dockerfile"]))?;
    unit(&packaging.join("grating.service"), &installed)
}

/// By systemd, where it is there; the program and its page are not installed here.
fn unit(file: &Path, installed: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.lines().filter(|line| !line.starts_with("Documentation="));
    let here = lines.map(|line| match line.starts_with("ExecStart=") {
        true => "ExecStart=/bin/true",
        false => line,
    });
    let copy = installed.join("grating.service");
    fs::write(&copy, here.collect::<Vec<_>>().join("\n"))?;
    let mut verify = command("systemd-analyze", &["verify"]);
    verify.arg(&copy);
    match verify.output() {
        Ok(output) if output.status.success() && output.stderr.is_empty() => Ok(()),
        Ok(output) => {
            anyhow::bail!("{}: {}", file.display(), String::from_utf8_lossy(&output.stderr))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("systemd-analyze is not here: {} is not checked", file.display());
            Ok(())
        }
        Err(error) => Err(error).context("cannot run systemd-analyze"),
    }
}
