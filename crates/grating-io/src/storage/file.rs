//! Bytes of a file, read at explicit positions.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirectStorage, Storage, check_bounds, direct};
use crate::error::{IoError, Result};

/// An open file.
///
/// Reads are positional (`pread` on Unix, `ReadFile` with an offset on Windows), so any number of
/// threads can read at once without a lock. Not a memory map: a read costs exactly the caller's
/// buffer, and a failing disk is an error rather than a signal that ends the process.
#[derive(Debug)]
pub struct FileStorage {
    file: PositionalFile,
    len: u64,
    path: PathBuf,
    name: String,
}

impl FileStorage {
    /// Opens a file for reading. Nothing is read yet.
    ///
    /// # Errors
    /// [`IoError::NotFound`], [`IoError::NotAFile`] for folders, pipes and devices,
    /// [`IoError::Open`] for everything else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => IoError::NotFound { path: path.into() },
            _ => IoError::Open { path: path.into(), reason: Arc::new(source) },
        };
        // Before opening, too: opening a named pipe would wait for somebody to write into it.
        if !fs::metadata(path).map_err(fail)?.is_file() {
            return Err(IoError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(IoError::NotAFile { path: path.into() });
        }
        let name = path.display().to_string();
        let file = PositionalFile::new(file);
        Ok(FileStorage { file, len: metadata.len(), path: path.into(), name })
    }
}

impl Storage for FileStorage {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(self, offset, buf.len())?;
        self.file.fill(&self.name, offset, buf, buf.len())
    }

    fn name(&self) -> &str {
        &self.name
    }

    #[cfg(target_os = "linux")]
    fn will_need(&self, offset: u64, len: u64) {
        self.file.advise(offset, len, rustix::fs::Advice::WillNeed);
    }

    #[cfg(target_os = "linux")]
    fn not_needed(&self, offset: u64, len: u64) {
        self.file.advise(offset, len, rustix::fs::Advice::DontNeed);
    }

    fn direct(&self) -> Option<Arc<dyn DirectStorage>> {
        direct::open(&self.path, &self.file, &self.name)
    }
}

/// Device and number of a file.
pub(super) type Identity = (u64, u64);

impl PositionalFile {
    /// Which file is open here, if one is.
    #[cfg(target_os = "linux")]
    pub(super) fn identity(&self) -> Option<Identity> {
        let of = rustix::fs::fstat(&self.0).ok()?;
        Some((of.st_dev, of.st_ino))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn identity(&self) -> Option<Identity> {
        None
    }

    #[cfg(target_os = "linux")]
    fn advise(&self, offset: u64, len: u64, advice: rustix::fs::Advice) {
        // For the kernel, no length is all that follows.
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // Reads are right with and without the hint.
            _ = rustix::fs::fadvise(&self.0, offset, Some(len), advice);
        }
    }

    /// Reads until at least `needed` bytes of `buf` are filled.
    pub(super) fn fill(
        &self,
        name: &str,
        offset: u64,
        buf: &mut [u8],
        needed: usize,
    ) -> Result<()> {
        let mut filled = 0;
        while filled < needed {
            let at = offset + filled as u64;
            match self.read_at(&mut buf[filled..], at) {
                Ok(0) => {
                    return Err(IoError::ShortRead {
                        file: name.to_string(),
                        offset,
                        expected: needed as u64,
                        found: filled as u64,
                    });
                }
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // From the position that failed, not from that of the whole read.
                Err(source) => {
                    return Err(IoError::Read {
                        file: name.to_string(),
                        offset: at,
                        length: (needed - filled) as u64,
                        reason: Arc::new(source),
                    });
                }
            }
        }
        Ok(())
    }
}

/// One positional read, as each platform offers it.
#[cfg(any(unix, windows))]
#[derive(Debug)]
pub(super) struct PositionalFile(pub(super) File);

#[cfg(any(unix, windows))]
impl PositionalFile {
    pub(super) fn new(file: File) -> Self {
        PositionalFile(file)
    }

    #[cfg(unix)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buf, offset)
    }

    /// `seek_read` moves the cursor as well, which nothing here uses.
    #[cfg(windows)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buf, offset)
    }
}

/// Elsewhere the cursor is all there is, so reads take turns.
#[cfg(not(any(unix, windows)))]
#[derive(Debug)]
pub(super) struct PositionalFile(std::sync::Mutex<File>);

#[cfg(not(any(unix, windows)))]
impl PositionalFile {
    fn new(file: File) -> Self {
        PositionalFile(std::sync::Mutex::new(file))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        use std::io::{Read, Seek, SeekFrom};
        // A panic elsewhere cannot leave a cursor wrong that every read sets first.
        let mut file = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(offset))?;
        file.read(buf)
    }
}
