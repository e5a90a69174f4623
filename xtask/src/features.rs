//! `cargo xtask features`: each crate by itself compiles, with each of its features and without any.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, shown, stdout_of, succeed};

/// A crate and its features.
pub(crate) struct Package {
    pub(crate) name: String,
    features: Vec<String>,
}

/// Checks them one after the other; the first that does not compile ends it.
pub(crate) fn run() -> Result<()> {
    for package in published()? {
        let alone = package.features.iter().map(|feature| vec![feature.as_str()]);
        for features in std::iter::once(Vec::new()).chain(alone) {
            check(&package.name, &features)?;
        }
    }
    Ok(())
}

fn check(package: &str, features: &[&str]) -> Result<()> {
    let features = features.join(",");
    let mut command = cargo(&["check", "--locked", "--all-targets", "--package", package]);
    command.args(["--no-default-features", "--features", &features]);
    eprintln!("==> {}", shown(&command));
    succeed(&mut command)
}

/// What is published, as `cargo metadata` knows it.
pub(crate) fn published() -> Result<Vec<Package>> {
    let metadata = stdout_of(cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    // `publish = false` is an empty list of registries.
    let published = packages.iter().filter(|package| package["publish"].is_null());
    published.map(package).collect()
}

fn package(metadata: &Value) -> Result<Package> {
    let name = metadata["name"].as_str().context("a package without a name")?.to_owned();
    let features = metadata["features"].as_object().context("a package without features")?;
    let features = features.keys().filter(|name| *name != "default");
    let features = features.cloned().collect();
    Ok(Package { name, features })
}
