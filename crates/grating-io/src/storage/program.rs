//! Bytes of the program's own file, read without keeping its pages.

use std::fmt;
use std::ops::Range;

use super::{Storage, check_bounds};
use crate::error::Result;

/// Bytes that are part of the program (`include_bytes!`), such as an embedded model.
///
/// They lie in pages of the executable that become resident as they are read and would stay so: a model of 45 MB would
/// take 45 MB, however few of its bytes are in use. Where the system can, every page is given back once it has been
/// copied, and comes from the page cache when it is read again.
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
    /// Addresses of the mapping that the bytes lie in, if its pages may be given back.
    mapping: Option<Range<usize>>,
}

/// Bytes that are copied before their pages are given back.
const PIECE: usize = 256 << 10;

/// A page fault makes its neighbours resident, too: Linux maps what it has of so many bytes around (`fault_around_bytes`).
const AROUND: usize = 64 << 10;

impl ProgramStorage {
    /// Bytes that live as long as the program; not copied.
    pub fn new(name: impl Into<String>, bytes: &'static [u8]) -> Self {
        let address = bytes.as_ptr().addr();
        let mapping = clean_mapping(address..address + bytes.len());
        ProgramStorage { name: name.into(), bytes, mapping }
    }

    /// Bytes that stay resident once they have been read: all, or none where pages are given back.
    pub fn kept_bytes(&self) -> u64 {
        if self.mapping.is_some() { 0 } else { self.bytes.len() as u64 }
    }
}

impl Storage for ProgramStorage {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(self, offset, buf.len())?;
        let start = offset as usize; // within a slice's length, as just checked
        let bytes = &self.bytes[start..start + buf.len()];
        for (bytes, buf) in bytes.chunks(PIECE).zip(buf.chunks_mut(PIECE)) {
            buf.copy_from_slice(bytes);
            if let Some(mapping) = &self.mapping {
                give_back(bytes, mapping);
            }
        }
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
            .field("mapping", &self.mapping)
            .finish()
    }
}

/// The mapping that holds these addresses, if all of its pages are as the file has them: only then do they come back
/// unchanged. (A packed program unpacks itself into memory that no file stands behind.)
#[cfg(target_os = "linux")]
fn clean_mapping(addresses: Range<usize>) -> Option<Range<usize>> {
    mapping_in(&std::fs::read_to_string("/proc/self/smaps").ok()?, addresses)
}

#[cfg(not(target_os = "linux"))]
fn clean_mapping(_addresses: Range<usize>) -> Option<Range<usize>> {
    None
}

/// [`clean_mapping`] by the text of `/proc/self/smaps` (proc_pid_smaps(5)): a line for each mapping,
/// `start-end perms offset device inode path`, then lines of its counters.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn mapping_in(smaps: &str, addresses: Range<usize>) -> Option<Range<usize>> {
    let mut lines = smaps.lines();
    let (mapping, rest) = lines.find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let parse = |address| usize::from_str_radix(address, 16).ok();
        let mapping = parse(start)?..parse(end)?;
        let holds = mapping.start <= addresses.start && addresses.end <= mapping.end;
        holds.then_some((mapping, rest))
    })?;
    let mut fields = rest.split_whitespace();
    let permissions = fields.next()?;
    let inode = fields.nth(2)?;
    let of_a_file = permissions.starts_with("r-") && permissions.ends_with('p') && inode != "0";
    let written = lines.find_map(|line| line.strip_prefix("Anonymous:"))?.trim();
    (of_a_file && written == "0 kB").then_some(mapping)
}

/// Drops the pages of `bytes` from the process, and those that came with them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn give_back(bytes: &[u8], mapping: &Range<usize>) {
    use rustix::mm::{Advice, madvise};

    let address = bytes.as_ptr().addr();
    let start = (address / AROUND * AROUND).max(mapping.start);
    let end = (address + bytes.len()).next_multiple_of(AROUND).min(mapping.end);
    let pointer = bytes.as_ptr().cast_mut().with_addr(start).cast();
    // SAFETY: the range lies in one private mapping of a file that cannot be written through and none of whose pages
    // has been changed, so that dropped pages read again as they were; nothing else is said about memory. Should the
    // kernel refuse, the pages stay.
    _ = unsafe { madvise(pointer, end - start, Advice::LinuxDontNeed) };
}

#[cfg(not(target_os = "linux"))]
fn give_back(_bytes: &[u8], _mapping: &Range<usize>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoError;

    const SMAPS: &str = "\
55d0c0000000-55d0c0010000 r--p 00000000 fe:00 1234                       /usr/bin/program
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
    fn only_unchanged_pages_of_a_file_are_given_back() {
        let first = 0x55d0_c000_0000..0x55d0_c001_0000;
        let found = |from: usize, to: usize| mapping_in(SMAPS, from..to);
        assert_eq!(found(first.start + 5, first.end), Some(first.clone()));
        assert_eq!(found(first.start, first.end + 1), None, "two mappings");
        for (start, why) in [(1, "writable"), (2, "changed"), (3, "no file"), (4, "shared")] {
            let start = first.start + (start << 16);
            assert_eq!(found(start, start + 10), None, "{why}");
        }
        assert_eq!(found(10, 20), None, "nowhere");
    }

    #[test]
    fn what_is_read_twice_is_the_same_and_bounds_are_kept() {
        // Large enough to lie in pages of its own and to be read in pieces.
        static BYTES: [u8; 3 * PIECE + 17] = {
            let mut bytes = [0; 3 * PIECE + 17];
            let mut i = 0;
            while i < bytes.len() {
                bytes[i] = (i % 251) as u8;
                i += 1009;
            }
            bytes
        };
        let storage = ProgramStorage::new("bytes", &BYTES);
        assert_eq!(storage.kept_bytes() == 0, cfg!(target_os = "linux"));
        for (offset, len) in [(0, BYTES.len()), (5, 2 * PIECE), (BYTES.len() - 3, 3), (7, 0)] {
            for _ in 0..2 {
                let mut buf = vec![1; len];
                storage.read_at(offset as u64, &mut buf).unwrap();
                assert_eq!(buf, BYTES[offset..offset + len]);
            }
        }
        let error = storage.read_at(BYTES.len() as u64, &mut [0]).unwrap_err();
        assert!(matches!(error, IoError::OutOfBounds { .. }), "{error}");
    }
}
