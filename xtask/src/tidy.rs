//! `cargo xtask tidy`: checks of the workspace's structure that no compiler makes.

mod arrows;
mod metadata;
mod sources;

use anyhow::{Result, bail};

use crate::process::{cargo, root, stdout_of};
use metadata::Metadata;

/// Prints every finding; an error when there is one.
pub(crate) fn run() -> Result<()> {
    let json = stdout_of(cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_slice(&json)?;
    let mut findings = arrows::check(&metadata);
    findings.extend(sources::check(&root(), &metadata)?);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} finding(s) in the workspace's structure", findings.len());
    }
    eprintln!("tidy: the arrows and the sources are in order");
    Ok(())
}
