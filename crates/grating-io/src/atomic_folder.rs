//! All or nothing: a folder is made under a hidden name and given its final one when it is complete.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// In a folder under construction, held by whoever makes it: where nobody holds it, its maker is dead.
const LOCK: &str = ".lock";
/// Without a lock, a folder in which nothing has moved for so long is taken for left over.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// A folder under construction. It goes when it is dropped before [`commit`](Self::commit), and those of processes that
/// could not do that are removed by the next [`AtomicFolder::new`] with the same parent and prefix.
///
/// ```
/// use grating_io::AtomicFolder;
///
/// # let parent = tempfile::tempdir()?;
/// let target = parent.path().join("model");
/// let staging = AtomicFolder::new(parent.path(), ".making-")?;
/// std::fs::write(staging.path().join("config.json"), "{}")?;
/// staging.commit(&target)?;
/// assert!(target.join("config.json").exists());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFolder {
    folder: PathBuf,
    /// Held until the folder is complete or gone.
    lock: Option<File>,
}

impl AtomicFolder {
    /// Makes a new folder in `parent`, its name beginning with `prefix` (which should begin with a dot and be nobody
    /// else's), and removes those of that prefix whose makers are dead.
    ///
    /// # Errors
    /// The operating system's, where the folder cannot be made.
    pub fn new(parent: &Path, prefix: &str) -> io::Result<Self> {
        remove_left_over(parent, prefix);
        loop {
            let folder = make(parent, prefix)?;
            // From here on the folder goes with the value.
            let mut staging = AtomicFolder { folder, lock: None };
            match lock(&staging.folder) {
                Ok(lock) => staging.lock = lock,
                // Somebody tidied up between two of our steps and took the folder for left over.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            return Ok(staging);
        }
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Gives the folder its final name, on the same disk.
    ///
    /// # Errors
    /// The operating system's, for instance where `target` is a folder with something in it; the folder under
    /// construction is gone then.
    pub fn commit(mut self, target: &Path) -> io::Result<()> {
        if self.lock.take().is_some() {
            fs::remove_file(self.folder.join(LOCK))?;
        }
        fs::rename(&self.folder, target)?;
        self.folder = PathBuf::new(); // It has another name by now.
        Ok(())
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        if self.folder != Path::new("") {
            self.lock = None;
            _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Ordinary permissions, less the process's mask: the folder is to be one like any other.
fn make(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{prefix}{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| folder),
        }
    }
}

/// The lock of a new folder; nothing where the file system has no locks, where age decides.
///
/// # Errors
/// `NotFound` where somebody took the folder for left over.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = File::create_new(&path)?;
    match lock.try_lock() {
        // What is removed before it was locked is no lock.
        Ok(()) => path.symlink_metadata().map(|_| Some(lock)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::NotFound.into()),
        Err(TryLockError::Error(_)) => fs::remove_file(&path).map(|()| None),
    }
}

/// Failing to tidy up after others is no failure.
fn remove_left_over(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(prefix);
        if named && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_if_left_over(&entry.path());
        }
    }
}

fn remove_if_left_over(folder: &Path) {
    // Its maker was killed before it had a lock, or makes another one; with anything in it, it stays.
    if fs::remove_dir(folder).is_ok() {
        return;
    }
    let lock = File::open(folder.join(LOCK));
    let left_over = match lock.as_ref().map(File::try_lock) {
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock)) => false,
        Ok(Err(TryLockError::Error(_))) | Err(_) => is_old(folder),
    };
    if left_over {
        // Under its lock, so that a maker who was about to take it finds it taken.
        _ = fs::remove_dir_all(folder);
    }
}

fn is_old(folder: &Path) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let moved = files.map(|file| file.path()).chain([folder.to_path_buf()]);
    let moved = moved.filter_map(|path| path.symlink_metadata().ok()?.modified().ok()).max();
    let age = moved.and_then(|moved| SystemTime::now().duration_since(moved).ok());
    age.is_some_and(|age| age > LEFT_OVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = ".making-";

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn nothing_stays_without_a_commit_and_only_the_target_with_one() {
        let parent = tempfile::tempdir().unwrap();
        let staging = AtomicFolder::new(parent.path(), PREFIX).unwrap();
        fs::write(staging.path().join("a"), "1").unwrap();
        drop(staging);
        assert!(names(parent.path()).is_empty());
        let staging = AtomicFolder::new(parent.path(), PREFIX).unwrap();
        fs::write(staging.path().join("a"), "1").unwrap();
        staging.commit(&parent.path().join("done")).unwrap();
        assert_eq!(names(parent.path()), ["done"]);
        assert_eq!(names(&parent.path().join("done")), ["a"]);
    }

    #[test]
    fn folders_of_the_dead_go_and_those_of_the_living_stay() {
        let parent = tempfile::tempdir().unwrap();
        let living = AtomicFolder::new(parent.path(), PREFIX).unwrap();
        // As a process that was killed leaves it: a lock that nobody holds.
        let dead = parent.path().join(".making-1-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("model.gguf"), "half").unwrap();
        // Killed before it had a lock.
        let empty = parent.path().join(".making-4-0");
        fs::create_dir(&empty).unwrap();
        // Young and without a lock; older ones are taken for left over.
        let young = parent.path().join(".making-2-0");
        let old = parent.path().join(".making-3-0");
        let long_ago = SystemTime::now() - 2 * LEFT_OVER;
        for folder in [&young, &old] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("model.gguf"), "half").unwrap();
        }
        for path in [old.join("model.gguf"), old.clone()] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        let stranger = parent.path().join("making-1-0");
        fs::create_dir(&stranger).unwrap();
        let next = AtomicFolder::new(parent.path(), PREFIX).unwrap();
        assert!(!dead.exists() && !old.exists() && !empty.exists());
        assert!(living.path().exists() && next.path().exists());
        assert!(young.exists() && stranger.exists());
    }
    #[test]
    fn makers_who_tidy_up_at_once_do_not_remove_each_other() {
        let parent = tempfile::tempdir().unwrap();
        let make = || {
            for _ in 0..200 {
                let staging = AtomicFolder::new(parent.path(), PREFIX).unwrap();
                fs::write(staging.path().join("a"), "1").unwrap();
                assert!(staging.path().join(LOCK).exists());
            }
        };
        std::thread::scope(|scope| _ = [(); 4].map(|()| scope.spawn(make)));
        assert!(names(parent.path()).is_empty());
    }
}
