//! Where spilled bytes lie.

use std::fs::File;
use std::io;
use std::path::Path;

/// A file that only its store uses.
///
/// Implement it to spill somewhere else, or to test what happens when a disk fails.
pub trait SpillFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system reports.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// What the system reports; [`io::ErrorKind::UnexpectedEof`] if there are fewer bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Makes the file take `bytes` on the disk: reserves what it grows by, gives back the rest.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if the disk has no room for it.
    fn resize(&self, bytes: u64) -> io::Result<()>;

    /// Bytes that the disk has free for this user, if the system says.
    fn free_bytes(&self) -> Option<u64>;
}

/// A file without a name: it is gone when it is closed, and after a crash.
#[derive(Debug)]
pub(super) struct UnlinkedFile(File);

impl UnlinkedFile {
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        tempfile::tempfile_in(folder).map(UnlinkedFile)
    }
}

#[cfg(unix)]
impl SpillFile for UnlinkedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buf, offset)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let length = self.0.metadata()?.len();
        if bytes <= length {
            return self.0.set_len(bytes);
        }
        match fallocate(&self.0, FallocateFlags::empty(), length, bytes - length) {
            Ok(()) => Ok(()),
            Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
            // Not every file system can reserve: a full disk then shows when it is written to.
            Err(_) => self.0.set_len(bytes),
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::fstatvfs(&self.0).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

#[cfg(not(unix))]
impl SpillFile for UnlinkedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        // One thread uses the file, so the cursor is its own.
        (&self.0).seek(SeekFrom::Start(offset))?;
        (&self.0).write_all(bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        (&self.0).seek(SeekFrom::Start(offset))?;
        (&self.0).read_exact(buf)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}
