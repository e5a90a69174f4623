//! `cargo xtask ptx`: the GPU's kernels as PTX, and whether what is committed belongs to the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::process::{root, succeed};

/// The sources, from the root of the workspace, and what is made of them.
const KERNELS: &str = "crates/grating-cuda/kernels";
const PTX: &str = "crates/grating-cuda/kernels/kernels.ptx";
/// The oldest compiler of CUDA 12: drivers refuse PTX of a newer one than they know.
const COMPILER: &str = "nvidia-cuda-nvrtc-cu12==12.0.140";
/// Before the hash of the sources, on the first line.
const MARK: &str = "// Made by `cargo xtask ptx`; sha256 of the sources: ";
/// Text that is in every program and in every clone.
const MOST_BYTES: usize = 2 << 20;

/// Arguments of `cargo xtask ptx`.
#[derive(clap::Args)]
pub(crate) struct PtxArgs {
    /// Only say whether the committed PTX was made of these sources; needs no compiler
    #[arg(long)]
    check: bool,
    /// Python whose pip fetches the compiler
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
}

/// Makes the PTX, or checks it.
pub(crate) fn run(args: &PtxArgs) -> Result<()> {
    let root = root();
    if args.check {
        return check(&root);
    }
    let library = compiler(&args.python, &root.join("target/nvrtc"))?;
    let made = root.join("target/nvrtc/kernels.ptx");
    let mut compile = Command::new(&args.python);
    compile.arg(root.join("xtask/ptx/compile.py")).arg(library).arg(root.join(KERNELS)).arg(&made);
    succeed(&mut compile)?;
    let ptx = fs::read_to_string(&made)?;
    ensure!(ptx.len() < MOST_BYTES, "{} bytes of PTX are too many to embed", ptx.len());
    let kernels = ptx.matches(".visible .entry ").count();
    fs::write(root.join(PTX), format!("{MARK}{}\n{ptx}", hash(&root)?))?;
    eprintln!("{PTX}: {kernels} kernels, {} KiB", ptx.len() >> 10);
    Ok(())
}

/// An error where the committed PTX was made of other sources.
pub(crate) fn check(root: &Path) -> Result<()> {
    let ptx = fs::read_to_string(root.join(PTX)).with_context(|| format!("cannot read {PTX}"))?;
    let found = ptx.lines().next().and_then(|line| line.strip_prefix(MARK));
    if found != Some(hash(root)?.as_str()) {
        bail!("{PTX} was not made of the kernels beside it: run `cargo xtask ptx`");
    }
    Ok(())
}

/// SHA-256 of the names and contents of all sources, in the order of their names.
fn hash(root: &Path) -> Result<String> {
    let folder = root.join(KERNELS);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {KERNELS}"))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "cu" || e == "cuh"));
    paths.sort();
    ensure!(!paths.is_empty(), "no sources in {KERNELS}");
    let mut hash = Sha256::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // As git keeps them: a checkout may have other ends of lines.
        let text = fs::read_to_string(&path)?.replace("\r\n", "\n");
        hash.update(format!("{name}\0{}\0", text.len()));
        hash.update(text);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// NVRTC's library, fetched from PyPI where it is not in `folder` yet.
fn compiler(python: &Path, folder: &Path) -> Result<PathBuf> {
    let library = folder.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    if library.exists() {
        return Ok(library);
    }
    fs::create_dir_all(folder)?;
    let mut install = Command::new(python);
    install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]);
    install.arg("--target").arg(folder).arg(COMPILER);
    succeed(&mut install)?;
    ensure!(library.exists(), "{COMPILER} has no {}: it is made on Linux", library.display());
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_kernels_are_those_of_the_sources() {
        check(&root()).unwrap();
    }

    #[test]
    fn other_sources_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let kernels = folder.path().join(KERNELS);
        fs::create_dir_all(&kernels).unwrap();
        fs::write(kernels.join("a.cuh"), "one\r\n").unwrap();
        let made = format!("{MARK}{}\n.version 8.0\n", hash(folder.path()).unwrap());
        fs::write(folder.path().join(PTX), made).unwrap();
        check(folder.path()).unwrap();
        fs::write(kernels.join("a.cuh"), "one\n").unwrap();
        check(folder.path()).unwrap();
        fs::write(kernels.join("a.cuh"), "two\n").unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cargo xtask ptx"), "{error}");
    }
}
