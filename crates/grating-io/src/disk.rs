//! The disk's free space.

use std::path::Path;

/// Bytes that an ordinary user may still write to the disk that holds `folder`; `None` where the
/// system does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        _ = folder;
        None
    }
}
