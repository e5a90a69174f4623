//! `cargo xtask goldens`: runs the script that makes golden checkpoints and outputs with the
//! reference implementation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{command, root};

/// The script, from the root of the workspace.
const SCRIPT: &str = "xtask/goldens/make_goldens.py";
/// Where the goldens live, from the root of the workspace.
const GOLDENS: &str = "crates/grating-model/tests/goldens";
/// Python packages that the script imports.
const PACKAGES: [&str; 5] = ["numpy", "torch", "transformers", "tokenizers", "safetensors"];
/// Their releases, from the root of the workspace.
const REQUIREMENTS: &str = "xtask/goldens/requirements.txt";

/// Arguments of `cargo xtask goldens`.
#[derive(clap::Args)]
pub(crate) struct GoldensArgs {
    /// Python with the reference implementation's packages
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Make them in a temporary folder and compare instead of replacing them: byte by byte, but for the last digits of
    /// the reference's numbers, which are the processor's
    #[arg(long)]
    check: bool,
}

/// Makes or checks the goldens.
pub(crate) fn run(args: &GoldensArgs) -> Result<()> {
    // The script runs in the root; a path is meant from where the user is, a bare name from PATH.
    let python = if args.python.components().count() > 1 {
        std::path::absolute(&args.python)?
    } else {
        args.python.clone()
    };
    require_packages(&python)?;
    let goldens = root().join(GOLDENS);
    if !args.check {
        return make(&python, &goldens);
    }
    let fresh = tempfile::tempdir().context("cannot make a temporary folder")?;
    make(&python, fresh.path())?;
    let differences = differences(&files(&goldens)?, &files(fresh.path())?);
    for difference in &differences {
        eprintln!("goldens: {difference}");
    }
    ensure!(
        differences.is_empty(),
        "{} file(s) differ from what the script makes; another release of a package, or goldens \
         that were edited (make them anew with `cargo xtask goldens`)",
        differences.len()
    );
    eprintln!("goldens: all as the script makes them");
    Ok(())
}

fn make(python: &Path, out: &Path) -> Result<()> {
    let mut script = command(python, &[SCRIPT, "--out"]);
    let status = script.arg(out).status().context("cannot run Python")?;
    ensure!(status.success(), "{SCRIPT} failed: {status}");
    Ok(())
}

fn require_packages(python: &Path) -> Result<()> {
    let code = format!(
        "import importlib.util as u; print(*[p for p in {PACKAGES:?} if not u.find_spec(p)])"
    );
    let output =
        Command::new(python).args(["-c", &code]).stdin(Stdio::null()).output().with_context(
            || format!("cannot run {}; name a Python with --python", python.display()),
        )?;
    let missing = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} does not work: {}", python.display(), said.trim());
    }
    ensure!(
        missing.is_empty(),
        "{python} lacks: {missing}. Make an environment that has them and name its Python:\n  \
         python3 -m venv .venv && .venv/bin/pip install -r {REQUIREMENTS}\n  \
         cargo xtask goldens --python .venv/bin/python",
        python = python.display()
    );
    Ok(())
}

/// Every file below `folder` with its content.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(at) = waiting.pop() {
        let entries = fs::read_dir(&at).with_context(|| format!("cannot list {}", at.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let content =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let name = path.strip_prefix(folder).expect("found below it").to_path_buf();
                found.insert(name, content);
            }
        }
    }
    Ok(found)
}

fn differences(
    kept: &BTreeMap<PathBuf, Vec<u8>>,
    fresh: &BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, content) in kept {
        match fresh.get(name) {
            None => found.push(format!("{}: the script makes no such file", name.display())),
            Some(other) if other != content && !same_but_for_digits(name, content, other) => {
                let at = content.iter().zip(other).take_while(|(a, b)| a == b).count();
                found.push(format!("{}: differs from byte {at} on", name.display()));
            }
            Some(_) => {}
        }
    }
    let missing = fresh.keys().filter(|name| !kept.contains_key(*name));
    found.extend(missing.map(|name| format!("{}: missing", name.display())));
    found
}

/// |kept - fresh| ≤ 3e-5 × max(1, |kept|): the reference sums in f32 in an order that is its processor's; a third of the bound
/// that scores are held to.
const DIGITS: f64 = 3e-5;

/// Whether the files are the reference's numbers and differ in nothing but their last digits.
fn same_but_for_digits(name: &Path, kept: &[u8], fresh: &[u8]) -> bool {
    if !name.ends_with("golden.json") {
        return false;
    }
    let read = |json| serde_json::from_slice::<Value>(json).ok();
    matches!((read(kept), read(fresh)), (Some(kept), Some(fresh)) if near(&kept, &fresh))
}

fn near(kept: &Value, fresh: &Value) -> bool {
    match (kept, fresh) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= DIGITS * a.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| near(a, b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_what_is_changed_extra_and_missing() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in
            [("a/same", "1"), ("a/sub/changed", "12"), ("a/extra", ""), ("b/same", "1")]
        {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir(root.path().join("b/sub")).unwrap();
        fs::write(root.path().join("b/sub/changed"), "13").unwrap();
        fs::write(root.path().join("b/new"), "").unwrap();
        let [a, b] = ["a", "b"].map(|side| files(&root.path().join(side)).unwrap());
        let changed = Path::new("sub").join("changed");
        assert_eq!(
            differences(&a, &b),
            [
                "extra: the script makes no such file".to_owned(),
                format!("{}: differs from byte 1 on", changed.display()),
                "new: missing".to_owned(),
            ]
        );
        assert!(differences(&a, &a).is_empty());
    }

    #[test]
    fn of_the_references_numbers_the_last_digits_may_differ_and_nothing_else() {
        let kept = br#"{"pairs": [{"ids": [1, 2], "logits_after_layer": [null, -1.25, 8.0]}]}"#;
        let same = |name: &str, from: &str, to: &str| {
            let fresh = String::from_utf8(kept.to_vec()).unwrap().replace(from, to);
            same_but_for_digits(Path::new(name), kept, fresh.as_bytes())
        };
        assert!(same("case/golden.json", "-1.25", "-1.25001"));
        assert!(same("case/golden.json", "8.0", "8.0002"));
        assert!(!same("case/golden.json", "-1.25", "-1.2501"));
        assert!(!same("case/golden.json", "null", "0.0"));
        assert!(!same("case/golden.json", "[1, 2]", "[1, 3]"));
        assert!(!same("case/golden.json", ", 8.0", ""));
        assert!(!same("case/config.json", "-1.25", "-1.25001"));
    }

    #[test]
    fn a_python_that_is_not_there_is_named() {
        let error = require_packages(Path::new("/nowhere/python")).unwrap_err();
        assert!(format!("{error:#}").contains("--python"), "{error:#}");
    }
}
