//! Page-aligned memory that several readers fill at once. The crate's unsafe code is here, and one call
//! in `storage/program.rs`.

use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::error::{IoError, Result};
use crate::storage::DIRECT_ALIGNMENT;

/// Bytes with one owner, given back when it is dropped.
pub type SlotBytes = Box<dyn AsMut<[u8]> + Send>;

/// Allocates slots where somebody wants them, for instance in memory that a device copies from faster: at least so many
/// bytes, at an address that is a multiple of [`DIRECT_ALIGNMENT`]. `None`: ordinary memory will do.
pub type SlotAllocator = Arc<dyn Fn(usize) -> io::Result<Option<SlotBytes>> + Send + Sync>;

/// Memory with one owner, zeroed, page-aligned, given back to the system on drop.
///
/// Physical pages are taken as they are first written.
#[derive(Debug)]
pub(super) struct Region(Arc<Mapping>);

/// A region whose [`Portion`]s are being written, so that nobody may look at it.
#[derive(Debug)]
pub(super) struct Lent(Arc<Mapping>);

/// Exclusive access to a range of a region, until dropped.
#[derive(Debug)]
pub(super) struct Portion {
    mapping: Arc<Mapping>,
    range: Range<usize>,
}

#[derive(Debug)]
struct Mapping {
    /// First of `len` bytes of `_owner`'s; all access goes through it.
    start: NonNull<u8>,
    len: usize,
    _owner: Owner,
}

/// Who gives the bytes back when it is dropped, and is not touched before.
#[derive(Debug)]
enum Owner {
    Pages { _map: MmapMut },
    Allocated { _memory: Allocated },
}

/// What an allocator gave, whose bytes are borrowed until it is dropped.
struct Allocated(*mut (dyn AsMut<[u8]> + Send));

impl fmt::Debug for Allocated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allocated")
    }
}

impl Drop for Allocated {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it came from a box, nobody else has it, and whoever drops it uses its bytes no more.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

// SAFETY: the memory belongs to the mapping alone, is freed by whichever thread drops it (what an
// allocator gives is `Send`), and is only reached through `Region` (shared access) and `Portion` (exclusive access to disjoint ranges),
// never through both at a time.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives no access to its bytes by itself.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

impl Region {
    /// Reserves `bytes` of address space.
    pub(super) fn allocate(bytes: usize) -> Result<Self> {
        let fail =
            |source: io::Error| IoError::OutOfMemory { needed: bytes, reason: Arc::new(source) };
        let mut map = MmapMut::map_anon(bytes.max(1)).map_err(fail)?;
        prefer_huge_pages(&map);
        let len = map.len();
        let Some(start) = NonNull::new(map.as_mut_ptr()) else {
            return Err(fail(io::ErrorKind::OutOfMemory.into()));
        };
        Ok(Region(Arc::new(Mapping { start, len, _owner: Owner::Pages { _map: map } })))
    }

    /// `bytes` where the allocator wants them.
    pub(super) fn allocate_by(allocator: &SlotAllocator, bytes: usize) -> Result<Self> {
        // Whose code runs here is unknown: its panic is this slot's error, and nobody waits for it under a lock.
        let allocated = catch_unwind(AssertUnwindSafe(|| match allocator(bytes)? {
            Some(memory) => Self::of(memory, bytes).map(Some),
            None => Ok(None),
        }));
        match allocated.unwrap_or_else(|_| Err(io::Error::other("its allocator panicked"))) {
            Ok(Some(region)) => Ok(region),
            Ok(None) => Self::allocate(bytes),
            Err(error) => Err(IoError::OutOfMemory { needed: bytes, reason: Arc::new(error) }),
        }
    }

    #[allow(unsafe_code)]
    fn of(memory: SlotBytes, bytes: usize) -> io::Result<Self> {
        let owner = Allocated(Box::into_raw(memory));
        // SAFETY: it came from a box and nobody else has it. The borrow lasts until `owner` is dropped, which nobody touches
        // before: the bytes stay where they are meanwhile, as they do for any borrow.
        let all: &mut [u8] = unsafe { (&mut *owner.0).as_mut() };
        let (len, start) = (all.len(), NonNull::from(all).cast::<u8>());
        if len < bytes || start.addr().get() % DIRECT_ALIGNMENT != 0 {
            return Err(io::Error::other(format!(
                "its allocator gave {len} bytes at {start:?}, where whole pages were asked for"
            )));
        }
        Ok(Region(Arc::new(Mapping { start, len, _owner: Owner::Allocated { _memory: owner } })))
    }

    /// Lends out portions to be written.
    ///
    /// # Panics
    /// Unless `ranges` are in order, disjoint and within the region.
    pub(super) fn lend(
        self,
        ranges: impl IntoIterator<Item = Range<usize>>,
    ) -> (Lent, Vec<Portion>) {
        let mut end = 0;
        let portion = |range: Range<usize>| {
            assert!(end <= range.start && range.start <= range.end && range.end <= self.0.len);
            end = range.end;
            Portion { mapping: Arc::clone(&self.0), range }
        };
        let portions = ranges.into_iter().map(portion).collect();
        (Lent(self.0), portions)
    }

    /// The bytes.
    #[allow(unsafe_code)]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `len` describe memory that lives as long as the mapping, zeroed when
        // it was made, hence initialized. While a `Region` exists no `Portion` does: `lend` consumes
        // it and `reclaim` makes it only when the last portion is gone. So nothing writes.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.len) }
    }
}

/// Asks for pages of 2 MiB where the region has room for them. A direct read of 2 MiB is then one
/// request to the disk instead of many (1.1 against 1.8 GB/s where it was measured), and filling a
/// slot takes few page faults. It takes no more memory than the region has.
#[cfg(target_os = "linux")]
fn prefer_huge_pages(map: &MmapMut) {
    // Kernels that were built without them refuse; small pages do as well.
    _ = map.advise(memmap2::Advice::HugePage);
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_map: &MmapMut) {}

impl Lent {
    /// The region again, unless a portion still exists.
    pub(super) fn reclaim(self) -> Result<Region, Lent> {
        // `try_unwrap` synchronizes with the drop of every portion, whose writes are visible then.
        Arc::try_unwrap(self.0).map(|mapping| Region(Arc::new(mapping))).map_err(Lent)
    }
}

impl Portion {
    /// The bytes of this portion.
    #[allow(unsafe_code)]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let Range { start, end } = self.range;
        // SAFETY: `lend` checked that the range lies within the mapping, which this portion keeps
        // alive, and that no other portion covers any of it; no `Region` exists meanwhile. The
        // pointer comes from exclusive access to the whole mapping. `&mut self` excludes a second
        // slice from this portion.
        unsafe {
            std::slice::from_raw_parts_mut(self.mapping.start.as_ptr().add(start), end - start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_written_by_threads_are_read_as_one() {
        let (lent, portions) =
            Region::allocate(10_000).unwrap().lend([0..4096, 4096..4100, 5000..9000]);
        let threads: Vec<_> = portions
            .into_iter()
            .zip(1u8..)
            .map(|(mut portion, value)| std::thread::spawn(move || portion.bytes_mut().fill(value)))
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let region = lent.reclaim().unwrap();
        assert_eq!(region.bytes().as_ptr().addr() % 4096, 0);
        assert_eq!(region.bytes()[4095..4101], [1, 2, 2, 2, 2, 0]);
        assert_eq!(region.bytes()[4999..5001], [0, 3]);
    }

    #[test]
    fn a_lent_region_comes_back_with_its_last_part_only() {
        let (lent, mut portions) = Region::allocate(10).unwrap().lend([0..5, 5..10]);
        portions.pop();
        let lent = lent.reclaim().unwrap_err();
        portions[0].bytes_mut()[4] = 7;
        portions.pop();
        assert_eq!(lent.reclaim().unwrap().bytes()[4], 7);
    }

    #[test]
    fn a_part_keeps_the_memory_alive() {
        let (lent, mut portions) = Region::allocate(10).unwrap().lend(std::iter::once(0..10));
        drop(lent);
        portions[0].bytes_mut()[9] = 1;
        assert_eq!(portions[0].bytes_mut()[9], 1);
    }

    #[test]
    fn parts_that_overlap_or_lie_beyond_the_end_are_refused() {
        let (overlapping, reversed) = (vec![0..5, 4..10], vec![4..10, 0..4]);
        let beyond = std::iter::once(0..usize::MAX).collect();
        for ranges in [overlapping, reversed, beyond] {
            let lend = || _ = Region::allocate(10).unwrap().lend(ranges.clone());
            let panic = std::panic::catch_unwind(lend).expect_err("portions share memory");
            let message = panic.downcast_ref::<&str>().expect("an assertion without arguments");
            assert!(message.contains("range.end <= self.0.len"), "{message}");
        }
    }

    #[test]
    fn more_than_the_address_space_is_an_error() {
        let error = Region::allocate(usize::MAX / 2).unwrap_err();
        assert!(matches!(error, IoError::OutOfMemory { needed, .. } if needed == usize::MAX / 2));
    }
}
