//! `cargo xtask python`: builds the wheel and tests it in an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{command, root, succeed};

/// The package, from the root of the workspace.
const PACKAGE: &str = "crates/grating-python";
/// What its tests need, from the root of the workspace.
const REQUIREMENTS: &str = "crates/grating-python/tests/requirements.txt";

/// The system's own.
pub(crate) const PYTHON: &str = "python3";

/// Arguments of `cargo xtask python`.
#[derive(clap::Args)]
pub(crate) struct PythonArgs {
    /// Python to make the environment with
    #[arg(long, value_name = "PATH", default_value = PYTHON)]
    python: PathBuf,
    /// Build with the release profile, as published wheels are
    #[arg(long)]
    release: bool,
    /// Build the wheel into target/wheels and stop
    #[arg(long)]
    only_build: bool,
    /// Arguments of pytest
    #[arg(last = true)]
    pytest: Vec<String>,
}

/// Builds the wheel, installs it into target/python and runs its tests there.
pub(crate) fn run(args: &PythonArgs) -> Result<()> {
    let python = install(&args.python)?;
    let wheel = wheel(&python, args.release)?;
    eprintln!("built {}", wheel.display());
    if args.only_build {
        return Ok(());
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps"]).arg(&wheel);
    succeed(&mut install)?;
    let mut test = Command::new(&python);
    // From a folder without the sources, so that the wheel is what is imported.
    let tests = root().join(PACKAGE).join("tests");
    test.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).arg(&tests).args(&args.pytest);
    test.current_dir(tests).env("PYTHONDONTWRITEBYTECODE", "1");
    succeed(&mut test)
}

/// Installs what the tests need, as far as it is not there; the Python that has it.
pub(crate) fn install(python: &Path) -> Result<PathBuf> {
    environment(python, &root().join("target/python"), &root().join(REQUIREMENTS))
}

/// An environment in `folder` with the packages of a file of requirements, made anew where that has changed; its Python.
pub(crate) fn environment(python: &Path, folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let inside = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let marker = folder.join("installed.txt");
    if fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
        return Ok(inside);
    }
    if !can_make_environments(python) {
        install_python()?;
        ensure!(
            can_make_environments(python),
            "{} cannot make environments: install Python 3.10 or newer with its venv module",
            python.display()
        );
    }
    let mut make = Command::new(python);
    succeed(make.args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut install = Command::new(&inside);
    // Most of what is installed is never imported: compiling all of it takes longer than fetching it.
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
    ]);
    succeed(install.arg("-r").arg(requirements)).with_context(|| {
        format!("cannot install {}; is PyPI within reach?", requirements.display())
    })?;
    fs::write(&marker, wanted)?;
    Ok(inside)
}

fn can_make_environments(python: &Path) -> bool {
    let mut check = Command::new(python);
    check.args(["-c", "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))"]);
    let status = check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Debian's Python, where this may be done.
fn install_python() -> Result<()> {
    for arguments in [&["update"][..], &["install", "-y", "python3", "python3-venv", "python3-pip"]]
    {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        succeed(&mut apt)
            .context("there is no Python 3.10 with venv, and apt-get cannot install it")?;
    }
    Ok(())
}

/// Builds the wheel into target/wheels/PROFILE, which holds nothing else then; its file.
fn wheel(python: &Path, release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "dev" };
    let out = root().join("target/wheels").join(profile);
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let mut build = command(python, &["-m", "maturin", "build", "--locked", "--profile", profile]);
    build.arg("--manifest-path").arg(root().join(PACKAGE).join("Cargo.toml"));
    succeed(build.arg("--out").arg(&out))?;
    let mut wheels = fs::read_dir(&out)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    match (wheels.next(), wheels.next()) {
        (Some(wheel), None) => Ok(wheel),
        _ => bail!("{} does not hold one wheel", out.display()),
    }
}
