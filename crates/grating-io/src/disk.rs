//! What disks tell of themselves.

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

/// Whether files in `folder` lie in memory (tmpfs or ramfs), as `/tmp` does on some systems; `None`
/// where the system does not tell.
pub fn in_memory(folder: &Path) -> Option<bool> {
    #[cfg(target_os = "linux")]
    {
        // linux/magic.h
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58F6;
        let disk = rustix::fs::statfs(folder).ok()?;
        // Signed on some targets and of 32 bits on others.
        let kind = disk.f_type as u64 & 0xFFFF_FFFF;
        Some(kind == TMPFS || kind == RAMFS)
    }
    #[cfg(not(target_os = "linux"))]
    {
        _ = folder;
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_no_disk() {
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(in_memory(Path::new("/dev/shm")), Some(true));
        }
        assert_eq!(in_memory(Path::new("/proc")), Some(false));
        assert_eq!(in_memory(Path::new("/no/such/folder")), None);
    }
}
