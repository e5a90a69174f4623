//! Files read past the page cache.

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(super) use supported::open;

/// Elsewhere files are read through the cache.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn open(
    _path: &std::path::Path,
    _cached: &super::file::PositionalFile,
    _name: &str,
) -> Option<std::sync::Arc<dyn super::DirectStorage>> {
    None
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
mod supported {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::Arc;

    use memmap2::MmapMut;

    use super::super::file::PositionalFile;
    use super::super::{DIRECT_ALIGNMENT, DirectStorage};
    use crate::error::Result;

    #[derive(Debug)]
    struct DirectFile {
        file: PositionalFile,
        name: String,
    }

    impl DirectStorage for DirectFile {
        fn read_aligned(&self, offset: u64, buf: &mut [u8], needed: usize) -> Result<()> {
            self.file.fill(&self.name, offset, buf, needed)
        }
    }

    /// The file at `path` a second time, unless another has taken its place, the file system
    /// refuses, or the first read does.
    pub(in super::super) fn open(
        path: &Path,
        cached: &PositionalFile,
        name: &str,
    ) -> Option<Arc<dyn DirectStorage>> {
        let file = open_past_cache(path).ok()?;
        let (ours, theirs) = (cached.0.metadata().ok()?, file.metadata().ok()?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            return None;
        }
        let direct = DirectFile { file: PositionalFile::new(file), name: name.to_string() };
        // Some file systems accept the flag and then refuse the reads.
        let mut page = MmapMut::map_anon(DIRECT_ALIGNMENT).ok()?;
        let needed = ours.len().min(DIRECT_ALIGNMENT as u64) as usize;
        direct.read_aligned(0, &mut page, needed).ok()?;
        Some(Arc::new(direct))
    }

    #[cfg(target_os = "linux")]
    fn open_past_cache(path: &Path) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECT;
        Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }

    #[cfg(target_vendor = "apple")]
    fn open_past_cache(path: &Path) -> io::Result<File> {
        let file = File::open(path)?;
        rustix::fs::fcntl_nocache(&file, true)?;
        Ok(file)
    }
}
