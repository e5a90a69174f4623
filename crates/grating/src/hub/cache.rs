//! The repository's folder in the cache: the layout of Python's `huggingface_hub`, so that both share it.
//!
//! `blobs/<etag>` holds contents, `snapshots/<commit>/<file>` links to them, `refs/<revision>` names a commit,
//! `../.locks/<repository>/<etag>.lock` is held (flock) while a blob is being made.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::client::FileMeta;
use super::{DownloadPhase, HubError, names, plan};

/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

pub(super) type Report<'a> = dyn FnMut(DownloadPhase, u64) + 'a;

pub(super) struct RepoCache {
    id: String,
    revision: String,
    dir: PathBuf,
    folder_name: String,
    layout: CacheRepo,
}

impl RepoCache {
    pub(super) fn new(dir: &Path, id: &str, revision: &str) -> Self {
        // Absolute, so that relative links can be made and the snapshot outlives a change of folder.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        let repo = Repo::with_revision(id.to_string(), RepoType::Model, revision.to_string());
        RepoCache {
            id: id.to_string(),
            revision: revision.to_string(),
            folder_name: repo.folder_name(),
            layout: Cache::new(dir.clone()).repo(repo),
            dir,
        }
    }

    /// The folder that holds the files of `commit`.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// The model in the snapshot that the revision named last, if every file it needs is there.
    pub(super) fn complete_snapshot(&self, choice: Option<&str>) -> Result<PathBuf, HubError> {
        let not_cached = |missing: String| HubError::NotCached {
            id: self.id.clone(),
            revision: self.revision.clone(),
            cache: self.dir.clone(),
            missing,
        };
        let commit = self.cached_commit().ok_or_else(|| not_cached("the revision".to_string()))?;
        let folder = self.snapshot(&commit);
        if !folder.is_dir() {
            return Err(not_cached("the revision".to_string()));
        }
        let plan::Local { missing, weights } = plan::local(&self.id, &folder, choice)?;
        match missing.is_empty() {
            true => Ok(plan::path(folder, &weights)),
            false => Err(not_cached(missing.join(", "))),
        }
    }

    fn ref_path(&self) -> PathBuf {
        self.dir.join(&self.folder_name).join("refs").join(&self.revision)
    }

    /// The commit of the revision, as far as the cache knows.
    fn cached_commit(&self) -> Option<String> {
        if names::is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let commit = fs::read_to_string(self.ref_path()).ok()?;
        Some(commit.trim().to_string()).filter(|commit| names::is_safe_commit(commit))
    }

    /// Lets the revision name `commit`, atomically. A cache that may only be read serves what it has.
    pub(super) fn set_ref(&self, commit: &str) -> Result<(), HubError> {
        if self.cached_commit().as_deref() == Some(commit) || self.revision == commit {
            return Ok(());
        }
        let path = self.ref_path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let draft = path.with_file_name(format!("{name}.{}.tmp", std::process::id()));
        match create_parent(&path)
            .and_then(|()| fs::write(&draft, commit))
            .and_then(|()| fs::rename(&draft, &path))
        {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Ok(())
            }
            done => done.map_err(|e| HubError::io("write", &path, e)),
        }
    }

    /// Makes the blob of `meta`, unless it is there: `download` fills the partial file it is given.
    pub(super) fn ensure_blob(
        &self,
        meta: &FileMeta,
        report: &mut Report<'_>,
        download: impl FnOnce(&Path, &mut Report<'_>) -> Result<(), HubError>,
    ) -> Result<(), HubError> {
        let blob = self.layout.blob_path(&meta.etag);
        if has_length(&blob, meta.size) {
            return Ok(());
        }
        create_parent(&blob).map_err(|e| HubError::io("create the folder of", &blob, e))?;
        let lock = self.lock(&meta.etag, &mut || report(DownloadPhase::Waiting, 0))?;
        if has_length(&blob, meta.size) {
            return Ok(());
        }
        // Where there are no locks, two processes must not write to one file.
        let partial = match lock {
            Some(_) => format!("{}.incomplete", meta.etag),
            None => format!("{}.{}.incomplete", meta.etag, std::process::id()),
        };
        let partial = blob.with_file_name(partial);
        download(&partial, report)?;
        fs::rename(&partial, &blob).map_err(|e| HubError::io("create", &blob, e))
    }

    /// The lock of a blob, shared with Python; `None` where the file system has no locks.
    fn lock(&self, etag: &str, waiting: &mut dyn FnMut()) -> Result<Option<File>, HubError> {
        let path = self.dir.join(".locks").join(&self.folder_name).join(format!("{etag}.lock"));
        let open = || File::options().create(true).write(true).truncate(false).open(&path);
        let file = create_parent(&path)
            .and_then(|()| open())
            .map_err(|e| HubError::io("open the lock", &path, e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => waiting(),
                Err(TryLockError::Error(_)) => return Ok(None),
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Puts the file into the snapshot of `commit`: a relative link to the blob, or a copy where links are not to
    /// be had (Windows without the right, some file systems).
    pub(super) fn link(&self, commit: &str, meta: &FileMeta) -> Result<(), HubError> {
        let blob = self.layout.blob_path(&meta.etag);
        let pointer = self.snapshot(commit).join(&meta.file);
        let failed = |e| HubError::io("create", &pointer, e);
        create_parent(&pointer).map_err(failed)?;
        if pointer.exists() {
            return Ok(());
        }
        if pointer.is_symlink() {
            fs::remove_file(&pointer).map_err(failed)?; // it leads nowhere: its blob was deleted
        }
        let depth = 2 + meta.file.split('/').count() - 1;
        let target: PathBuf =
            [".."].repeat(depth).iter().collect::<PathBuf>().join("blobs").join(&meta.etag);
        match symlink(&target, &pointer) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && pointer.exists() => Ok(()),
            Err(_) => copy(&blob, &pointer).map_err(failed),
            Ok(()) => Ok(()),
        }
    }
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn has_length(path: &Path, length: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == length)
}

#[cfg(unix)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(windows)]
fn symlink(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, pointer)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _pointer: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Never shows a partial file under the name `to`.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let draft = to.with_file_name(format!("{name}.{}.tmp", std::process::id()));
    fs::copy(from, &draft)?;
    fs::rename(&draft, to)
}
