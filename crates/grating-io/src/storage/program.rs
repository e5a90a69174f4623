//! Bytes of the program's own file, read without making its pages resident.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::file::{Identity, PositionalFile};
use super::{Storage, check_bounds};
use crate::error::Result;

/// Bytes that are part of the program (`include_bytes!`), such as an embedded model.
///
/// They lie in pages of the executable that become resident as they are read and stay so: a model of 45 MB would
/// take 45 MB, however few of its bytes are in use. Where the system says which file the pages are of (Linux), bytes are read
/// from that instead, as from any file: what the page cache holds counts for nobody, and a row costs two calls in place of page
/// faults.
/// A process that closes all its files, as those do that go to the background, is given the pages from then on.
///
/// ```
/// use grating_io::{ProgramStorage, Storage};
///
/// static DIGITS: &[u8] = b"0123456789";
/// let storage = ProgramStorage::new("digits", DIGITS);
/// let mut two = [0; 2];
/// storage.read_at(4, &mut two)?;
/// assert_eq!(&two, b"45");
/// # Ok::<(), grating_io::IoError>(())
/// ```
pub struct ProgramStorage {
    name: String,
    bytes: &'static [u8],
    file: Option<ProgramFile>,
}

/// The file that the bytes were loaded from.
struct ProgramFile {
    file: Arc<PositionalFile>,
    /// Which it was when it was opened.
    identity: Option<Identity>,
    /// Where the first of the bytes is in it.
    offset: u64,
}

impl ProgramStorage {
    /// Bytes that live as long as the program; not copied.
    pub fn new(name: impl Into<String>, bytes: &'static [u8]) -> Self {
        ProgramStorage { name: name.into(), bytes, file: ProgramFile::of(bytes) }
    }

    /// Bytes that stay resident once they have been read: all, or none where they are read from the program's file, as long as
    /// that is open.
    pub fn kept_bytes(&self) -> u64 {
        if self.file.is_some() { 0 } else { self.bytes.len() as u64 }
    }
}

impl Storage for ProgramStorage {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(self, offset, buf.len())?;
        if let Some(of) = self.file.as_ref().filter(|of| of.is_there()) {
            let read = of.file.fill(&self.name, of.offset + offset, buf, buf.len());
            // It may have been closed just now.
            if read.is_ok() || of.is_there() {
                return read;
            }
        }
        let start = offset as usize; // within a slice's length, as just checked
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for ProgramStorage {
    /// Without the bytes: an embedded model has millions of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramStorage")
            .field("name", &self.name)
            .field("len", &self.bytes.len())
            .field("offset_in_file", &self.file.as_ref().map(|file| file.offset))
            .finish()
    }
}

impl ProgramFile {
    #[cfg(target_os = "linux")]
    fn new(file: std::fs::File, offset: u64) -> Self {
        let file = PositionalFile::new(file);
        ProgramFile { identity: file.identity(), file: Arc::new(file), offset }
    }

    /// Whether the file is still open, and no other one in its place.
    fn is_there(&self) -> bool {
        let identity = self.file.identity();
        identity.is_some() && identity == self.identity
    }

    #[cfg(target_os = "linux")]
    fn of(bytes: &'static [u8]) -> Option<Self> {
        let address = bytes.as_ptr().addr();
        let smaps = std::fs::read("/proc/self/smaps").ok()?;
        // Paths need not be text.
        let smaps = String::from_utf8_lossy(&smaps);
        let mapping = mapping_of(&smaps, address..address + bytes.len())?;
        let offset = mapping.offset + (address - mapping.start) as u64;
        // The first is what runs, even if another file has come to its path; a library has its own.
        ["/proc/self/exe", mapping.path].into_iter().find_map(|path| {
            let of = Self::new(std::fs::File::open(path).ok()?, offset);
            of.holds(bytes).then_some(of)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_bytes: &'static [u8]) -> Option<Self> {
        None
    }

    /// Whether the file has these bytes, by samples: another file may have come to the path since it was loaded, of which
    /// other bytes are at this place.
    #[cfg(target_os = "linux")]
    fn holds(&self, bytes: &[u8]) -> bool {
        const SAMPLES: usize = 8;
        let mut sample = [0; 256];
        (0..SAMPLES).all(|i| {
            // From the first bytes to the last ones.
            let start = bytes.len().saturating_sub(sample.len()) * i / (SAMPLES - 1);
            let wanted = &bytes[start..(start + sample.len()).min(bytes.len())];
            let found = &mut sample[..wanted.len()];
            let read = self.file.fill("", self.offset + start as u64, found, wanted.len());
            read.is_ok() && found == wanted
        })
    }
}

impl Drop for ProgramFile {
    fn drop(&mut self) {
        if !self.is_there() {
            // Closing it would close somebody else's file.
            std::mem::forget(Arc::clone(&self.file));
        }
    }
}

/// A part of a file in memory.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping<'a> {
    start: usize,
    /// Where it begins in the file.
    offset: u64,
    path: &'a str,
}

/// The mapping that holds these addresses, if it is of a file and all of its pages are as the file has them. (A packed
/// program unpacks itself into memory that no file stands behind.)
///
/// `smaps` is the text of `/proc/self/smaps` (proc_pid_smaps(5)): a line for each mapping,
/// `start-end perms offset device inode path`, then lines of its counters.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn mapping_of(smaps: &str, addresses: Range<usize>) -> Option<Mapping<'_>> {
    let mut lines = smaps.lines();
    let (start, rest) = lines.find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let parse = |address| usize::from_str_radix(address, 16).ok();
        let mapping = parse(start)?..parse(end)?;
        let holds = mapping.start <= addresses.start && addresses.end <= mapping.end;
        holds.then_some((mapping.start, rest))
    })?;
    let mut fields = rest.splitn(5, ' ');
    let permissions = fields.next()?;
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(1)?;
    let path = fields.next()?.trim();
    let of_a_file = permissions.starts_with("r-") && permissions.ends_with('p') && inode != "0";
    let written = lines.find_map(|line| line.strip_prefix("Anonymous:"))?.trim();
    (of_a_file && written == "0 kB").then_some(Mapping { start, offset, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoError;

    const SMAPS: &str = "\
55d0c0000000-55d0c0010000 r--p 00002000 fe:00 1234                       /usr/bin/a program
Size:                 64 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55d0c0010000-55d0c0020000 rw-p 00010000 fe:00 1234                       /usr/bin/program
Anonymous:             0 kB
55d0c0020000-55d0c0030000 r--p 00020000 fe:00 1234                       /usr/bin/program
Anonymous:             4 kB
55d0c0030000-55d0c0040000 r--p 00000000 00:00 0
Anonymous:             0 kB
55d0c0040000-55d0c0050000 r--s 00000000 fe:00 1234                       /usr/bin/program
Anonymous:             0 kB
";

    #[test]
    fn only_unchanged_pages_of_a_file_are_those_of_the_file() {
        let first = 0x55d0_c000_0000..0x55d0_c001_0000;
        let found = |from: usize, to: usize| mapping_of(SMAPS, from..to);
        let of = Mapping { start: first.start, offset: 0x2000, path: "/usr/bin/a program" };
        assert_eq!(found(first.start + 5, first.end), Some(of));
        assert_eq!(found(first.start, first.end + 1), None, "two mappings");
        for (start, why) in [(1, "writable"), (2, "changed"), (3, "no file"), (4, "shared")] {
            let start = first.start + (start << 16);
            assert_eq!(found(start, start + 10), None, "{why}");
        }
        assert_eq!(found(10, 20), None, "nowhere");
    }

    #[test]
    fn what_is_read_is_the_same_and_bounds_are_kept() {
        // Large enough to lie in pages of its own.
        const LEN: usize = (768 << 10) + 17;
        static BYTES: [u8; LEN] = {
            let mut bytes = [0; LEN];
            let mut i = 0;
            while i < bytes.len() {
                bytes[i] = (i % 251) as u8;
                i += 1009;
            }
            bytes
        };
        let storage = ProgramStorage::new("bytes", &BYTES);
        assert_eq!(storage.kept_bytes() == 0, cfg!(target_os = "linux"));
        for (offset, len) in [(0, BYTES.len()), (5, 512 << 10), (BYTES.len() - 3, 3), (7, 0)] {
            let mut buf = vec![1; len];
            storage.read_at(offset as u64, &mut buf).unwrap();
            assert_eq!(buf, BYTES[offset..offset + len]);
        }
        let error = storage.read_at(BYTES.len() as u64, &mut [0]).unwrap_err();
        assert!(matches!(error, IoError::OutOfBounds { .. }), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_file_at_the_path_is_not_the_programs() {
        let bytes: Vec<u8> = (0..9000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        let of = |offset| ProgramFile::new(std::fs::File::open(&path).unwrap(), offset);
        std::fs::write(&path, [&[7; 100], &bytes[..]].concat()).unwrap();
        assert!(of(100).holds(&bytes));
        assert!(!of(99).holds(&bytes), "another place");
        std::fs::write(&path, [&[7; 100], &bytes[..8999]].concat()).unwrap();
        assert!(!of(100).holds(&bytes), "too short");
        assert!(of(100).holds(&bytes[..3]) && of(100).holds(&[]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_file_at_the_descriptor_is_neither_read_nor_closed() {
        use std::os::fd::AsRawFd;

        static BYTES: [u8; 4] = [1, 2, 3, 4];
        let folder = tempfile::tempdir().unwrap();
        let of = |name, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            ProgramFile::new(std::fs::File::open(path).unwrap(), 0)
        };
        let read = |file| {
            let mut buf = [0; 4];
            let storage = ProgramStorage { name: "bytes".into(), bytes: &BYTES, file: Some(file) };
            storage.read_at(0, &mut buf).unwrap();
            buf
        };
        let own = of("own", &BYTES);
        let mut other = of("other", &[9; 4]);
        other.identity = own.identity;
        assert_eq!(read(own), BYTES);
        assert_eq!(read(of("changed", &[8; 4])), [8; 4], "the file is what is read");
        let descriptor = other.file.0.as_raw_fd();
        assert_eq!(read(other), BYTES);
        // It was not closed, for it is not the one that was opened.
        let open = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
        assert_eq!(open, folder.path().join("other"));
    }
}
