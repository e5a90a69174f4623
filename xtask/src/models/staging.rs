//! All or nothing: a model folder is made under a temporary name beside its final one and renamed
//! when it is complete; on failure nothing stays behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Space left free beyond what the model takes.
const SLACK_BYTES: u64 = 64 << 20;

/// A folder under construction; removed when dropped before [`Staging::commit`].
#[derive(Debug)]
pub(crate) struct Staging {
    folder: grating_io::AtomicFolder,
    target: PathBuf,
    force: bool,
}

impl Staging {
    /// Makes the temporary folder beside `target` after checking that `target` may be written:
    /// it must not exist or be empty, or with `force` hold nothing but a model's files.
    pub(crate) fn new(target: &Path, force: bool) -> Result<Self> {
        let target = std::path::absolute(target)
            .with_context(|| format!("cannot resolve {}", target.display()))?;
        check_target(&target, force)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            bail!("{} cannot be a model folder", target.display());
        };
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create the folder {}", parent.display()))?;
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        let folder = grating_io::AtomicFolder::new(parent, &prefix)
            .with_context(|| format!("cannot create a folder in {}", parent.display()))?;
        Ok(Self { folder, target, force })
    }

    /// Where to write.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An error that says how much is missing when the disk cannot hold `bytes`.
    pub(crate) fn check_space(&self, bytes: u64) -> Result<()> {
        let Some(free) = free_bytes(self.folder()) else { return Ok(()) };
        ensure!(
            bytes + SLACK_BYTES <= free,
            "the model takes {} and the disk of {} has {} free; free some space or choose another \
             --out (or fewer --layers)",
            size(bytes),
            self.target.display(),
            size(free)
        );
        Ok(())
    }

    /// Gives the folder its final name.
    pub(crate) fn commit(self) -> Result<()> {
        if self.target.exists() {
            // Checked again, because writing took a while.
            check_target(&self.target, self.force)?;
            fs::remove_dir_all(&self.target)
                .with_context(|| format!("cannot replace {}", self.target.display()))?;
        }
        let cannot = || format!("cannot give {} its name", self.target.display());
        self.folder.commit(&self.target).with_context(cannot)
    }
}

fn check_target(target: &Path, force: bool) -> Result<()> {
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot use {} as --out", target.display()));
        }
    };
    for entry in entries {
        let name = entry?.file_name();
        ensure!(
            force,
            "{} exists and is not empty; remove it, choose another --out or pass --force",
            target.display()
        );
        ensure!(
            is_model_file(&name.to_string_lossy()),
            "{} holds {}, which is no file of a model; --force will not remove it",
            target.display(),
            name.display()
        );
    }
    Ok(())
}

fn is_model_file(name: &str) -> bool {
    let known =
        ["config.json", "grating.json", "planted.json", "tokenizer.json", "tokenizer_config.json"];
    known.contains(&name) || name.starts_with("model") && name.contains(".safetensors")
}

#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// A size for people: decimal units, as disks and the hub state them.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.2} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} kB", bytes as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_without_a_commit() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("deep/er/model");
        let staging = Staging::new(&target, false).unwrap();
        fs::write(staging.folder().join("config.json"), "{}").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_commit_replaces_only_model_files_and_only_when_told() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        for (content, force) in [("1", false), ("2", true)] {
            let staging = Staging::new(&target, force).unwrap();
            fs::write(staging.folder().join("config.json"), content).unwrap();
            staging.commit().unwrap();
            assert_eq!(fs::read_to_string(target.join("config.json")).unwrap(), content);
        }
        let error = Staging::new(&target, false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        fs::write(target.join("thesis.tex"), "years of work").unwrap();
        let error = Staging::new(&target, true).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        let error = Staging::new(&target.join("config.json"), true).unwrap_err();
        assert!(format!("{error:#}").contains("config.json"), "{error:#}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn too_little_space_is_said_before_writing() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::new(&root.path().join("model"), false).unwrap();
        staging.check_space(1000).unwrap();
        if cfg!(unix) {
            let error = staging.check_space(1 << 60).unwrap_err().to_string();
            assert!(error.contains("free"), "{error}");
        }
    }
}
