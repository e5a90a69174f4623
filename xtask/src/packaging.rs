//! `cargo xtask packaging`: what others are given, checked where nothing else runs it: the crates as a registry would have
//! them, the systemd unit and the Dockerfile.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::clients::{done, venv};
use crate::features::published;
use crate::process::{cargo, command, root, stdout_of, succeed};

/// What crates.io takes of one crate, bytes.
const LARGEST: u64 = 10 << 20;
/// Where packages are made and built, from the root of the workspace. One folder for all: left to itself, cargo builds
/// each package in one of its own, with all that it depends on.
const BUILT: &str = "target/packages";

/// Arguments of `cargo xtask packaging`.
#[derive(clap::Args)]
pub(crate) struct PackagingArgs {
    /// Build every published crate from its package, too, which compiles all of them anew
    #[arg(long)]
    crates: bool,
}

/// The unit and the Dockerfile by their linters, the crates by building them.
pub(crate) fn run(args: &PackagingArgs) -> Result<()> {
    if args.crates {
        crates()?;
    }
    let (packaging, installed) = (root().join("packaging"), root().join("target/clients"));
    fs::create_dir_all(&installed)?;
    let python = venv(&packaging, &installed, "linters", "requirements.txt")?;
    let hadolint = python.with_file_name("hadolint");
    done(command(hadolint, &["packaging/Dockerfile"]))?;
    unit(&packaging.join("grating.service"), &installed)
}

/// Packs every published crate and builds it from its package, with the other packages in the place of the registry.
fn crates() -> Result<()> {
    let names: Vec<String> = published()?.into_iter().map(|package| package.name).collect();
    let mut package = cargo(&["package", "--locked", "--allow-dirty", "--quiet"]);
    package.args(names.iter().flat_map(|name| ["--package", name]));
    succeed(package.env("CARGO_TARGET_DIR", root().join(BUILT)))?;
    names.iter().try_for_each(|name| packed(name))
}

/// That a package has what its readers need, and a size that is taken.
fn packed(name: &str) -> Result<()> {
    let listed = stdout_of(cargo(&["package", "--list", "--allow-dirty", "--package", name]))?;
    let listed = String::from_utf8(listed)?;
    for file in ["README.md", "LICENSE-APACHE"] {
        ensure!(listed.lines().any(|line| line == file), "{name} is packed without {file}");
    }
    let file = format!("{BUILT}/package/{name}-{}.crate", env!("CARGO_PKG_VERSION"));
    let bytes = fs::metadata(root().join(&file)).context(file)?.len();
    ensure!(bytes <= LARGEST, "{name} has {bytes} bytes; crates.io takes {LARGEST}");
    Ok(())
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
