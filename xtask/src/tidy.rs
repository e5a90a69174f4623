//! `cargo xtask tidy`: checks of the workspace's structure that no compiler makes.

mod arrows;
mod docs;
mod length;
mod metadata;
mod refused;
mod sources;
mod words;

use anyhow::{Result, bail};

use crate::bench::check_readme;
use crate::process::{cargo, root, stdout_of};
use crate::ptx;
pub(crate) use docs::outside_fences;
use metadata::Metadata;

/// Prints every finding; an error when there is one.
pub(crate) fn run() -> Result<()> {
    let json = stdout_of(cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_slice(&json)?;
    let mut findings = arrows::check(&metadata);
    let root = root();
    let paths = sources::files(&root)?;
    findings.extend(sources::check(&root, &paths, &metadata)?);
    findings.extend(docs::check(&root, &paths, &metadata, arrows::TOOLS)?);
    findings.extend(words::check(&root)?);
    findings.extend(check_readme(&root)?);
    findings.extend(ptx::check(&root).err().map(|error| error.to_string()));
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} finding(s) in the workspace's structure", findings.len());
    }
    eprintln!("tidy: the arrows, the sources and what the documents say of them are in order");
    Ok(())
}
