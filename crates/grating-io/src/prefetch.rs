//! Reading ahead: scheduled byte ranges go into a fixed set of slots before they are asked for.

mod block;
mod handover;
mod lease;
mod memory;
mod options;
mod placement;
mod reader;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::error::{IoError, Result};
use crate::storage::{DIRECT_ALIGNMENT, Storage, available_memory};
use handover::Handover;
use memory::Region;
use placement::Placement;
use reader::OpenStorage;
use stats::Counters;

pub use block::{Block, Extent};
pub use lease::Lease;
pub use memory::{SlotAllocator, SlotBytes};
pub use options::{IoMode, PrefetchOptions};
pub use stats::PrefetchStats;

/// Reads scheduled [`Block`]s ahead, in order, into a fixed set of slots.
///
/// Its memory is that of its slots, whatever is scheduled. While the caller computes on one
/// [`Lease`], reader threads fill the other slots, several requests at a time.
///
/// ```
/// use std::sync::Arc;
/// use grating_io::{Block, Extent, MemoryStorage, PrefetchOptions, Prefetcher};
///
/// # fn main() -> Result<(), grating_io::IoError> {
/// let storage = Arc::new(MemoryStorage::from_static("digits", b"0123456789"));
/// let block = |tag| Block::new(tag, vec![Extent::new(0, tag, 2, "two digits")]);
///
/// let slot = block(0).slot_bytes();
/// let prefetcher = Prefetcher::start(vec![storage], PrefetchOptions::new(vec![slot; 2]))?;
/// prefetcher.schedule((0..8).map(block))?;
/// for first in 0..8 {
///     let lease = prefetcher.next()?; // the next block or two are being read meanwhile
///     assert_eq!(lease.bytes(0), [b'0' + first, b'1' + first]);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Slots
///
/// A block takes the smallest slot that holds it, never a larger one, so that blocks of two sizes
/// that take turns keep a small and a large slot busy. Within one size of slot, blocks are read in
/// order. Slots are page-aligned; memory is taken when a slot is first filled and given back to the
/// system when the prefetcher and the slot's lease are dropped.
///
/// [`Prefetcher::next`] waits for as long as all slots of the block's size are leased: with two
/// slots of a size, hold at most one of its leases while asking for the next, or have
/// another thread drop one.
///
/// # Errors and cancellation
///
/// A failed read is the error of its block, which names the file, the extent and the offset; blocks
/// before it are served. The error ends the schedule, as [`Prefetcher::cancel`] does, and the
/// prefetcher serves the next one. A forgotten block costs at most the requests in flight. Dropping
/// the prefetcher waits for these and for nothing else.
pub struct Prefetcher {
    handover: Arc<Handover<Region>>,
    sources: Arc<[OpenStorage]>,
    counters: Arc<Counters>,
    request_bytes: usize,
    readers: Vec<JoinHandle<()>>,
}

impl Prefetcher {
    /// Starts the reader threads. Nothing is read or allocated yet.
    ///
    /// # Errors
    /// [`IoError::Thread`].
    pub fn start(storages: Vec<Arc<dyn Storage>>, options: PrefetchOptions) -> Result<Self> {
        Self::start_in(storages, options, None)
    }

    /// As [`Prefetcher::start`], with slots where `allocator` puts them. It is called as a slot is first filled, on any
    /// thread; what it fails or panics with is [`IoError::OutOfMemory`] of the block.
    ///
    /// # Errors
    /// [`IoError::Thread`].
    pub fn start_in(
        storages: Vec<Arc<dyn Storage>>,
        options: PrefetchOptions,
        allocator: Option<SlotAllocator>,
    ) -> Result<Self> {
        let mut prefetcher = Prefetcher {
            handover: Arc::new(Handover::new(&options.slots, allocator)),
            sources: sources(storages, options.io),
            counters: Arc::default(),
            request_bytes: whole_pages(options.request_bytes),
            readers: Vec::new(),
        };
        for at in 0..options.readers.max(1) {
            let reader = prefetcher.spawn(at)?;
            prefetcher.readers.push(reader);
        }
        Ok(prefetcher)
    }

    fn spawn(&self, at: usize) -> Result<JoinHandle<()>> {
        let name = format!("weights {at}");
        let handover = Arc::clone(&self.handover);
        let sources = Arc::clone(&self.sources);
        let counters = Arc::clone(&self.counters);
        thread::Builder::new()
            .name(name.clone())
            .spawn(move || reader::run(&handover, &sources, &counters))
            .map_err(|source| IoError::Thread { name, reason: Arc::new(source) })
    }

    /// Appends blocks to the schedule; they are read ahead in this order as slots become free.
    ///
    /// # Errors
    /// [`IoError::SlotTooSmall`] with the size that would do, [`IoError::UnknownStorage`], or
    /// [`IoError::Tensor`] about an extent that does not lie within its storage. Then none of
    /// these blocks is scheduled.
    pub fn schedule(&self, blocks: impl IntoIterator<Item = Block>) -> Result<()> {
        self.handover.schedule(self.placements(blocks)?)
    }

    /// Replaces everything that has not been handed out by `blocks`.
    ///
    /// What has already been read or is being read stays as long as the new order begins with it
    /// (judged by extents and for each size of slot; the tags are the new ones). Leases are not
    /// touched.
    ///
    /// # Errors
    /// As [`Prefetcher::schedule`]; then the schedule is as before.
    pub fn reschedule(&self, blocks: impl IntoIterator<Item = Block>) -> Result<()> {
        self.handover.reschedule(self.placements(blocks)?)
    }

    /// Forgets everything that has not been handed out. Does not wait for requests in flight.
    pub fn cancel(&self) {
        self.handover.cancel();
    }

    /// The next block of the schedule; waits until it has been read.
    ///
    /// # Errors
    /// [`IoError::Tensor`] when the block could not be read, after which the schedule is empty;
    /// [`IoError::OutOfMemory`] when there is no memory for its slot;
    /// [`IoError::NothingScheduled`].
    pub fn next(&self) -> Result<Lease> {
        let ready = self.handover.next()?;
        Ok(Lease::new(Arc::clone(&self.handover), ready))
    }

    /// Whether [`Prefetcher::next`] would return at once, with a block or an error.
    pub fn is_ready(&self) -> bool {
        self.handover.is_ready()
    }

    /// Whether nothing is being read, and nothing will be until a lease is dropped or the schedule changes: as much has
    /// been read ahead as the slots hold.
    pub fn is_idle(&self) -> bool {
        self.handover.is_idle()
    }

    /// Counters since the start.
    pub fn stats(&self) -> PrefetchStats {
        let waits = self.handover.waits();
        PrefetchStats {
            consumer_wait: waits.consumer,
            reader_wait: waits.readers,
            direct: self.sources.iter().filter(|source| source.direct.is_some()).count(),
            ..self.counters.snapshot()
        }
    }

    fn placements(&self, blocks: impl IntoIterator<Item = Block>) -> Result<Vec<Arc<Placement>>> {
        let placement = |block: Block| {
            block.extents.iter().try_for_each(|extent| self.check(block.tag, extent))?;
            Ok(Arc::new(Placement::new(block, self.request_bytes)))
        };
        blocks.into_iter().map(placement).collect()
    }

    fn check(&self, block: u64, extent: &Extent) -> Result<()> {
        let label = || extent.label.to_string();
        let Some(source) = self.sources.get(extent.storage) else {
            let (expected, found) = (self.sources.len(), extent.storage);
            return Err(IoError::UnknownStorage { block, label: label(), expected, found });
        };
        crate::storage::check_bounds(&*source.storage, extent.offset, extent.len).map_err(|error| {
            IoError::Tensor {
                file: source.storage.name().to_string(),
                label: label(),
                offset: extent.offset,
                reason: Arc::new(error),
            }
        })
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.handover.close();
        for reader in self.readers.drain(..) {
            // A reader turns panics into errors of its block and does not end by one.
            let outcome = reader.join();
            debug_assert!(outcome.is_ok(), "a reader panicked outside of a read");
        }
    }
}

impl fmt::Debug for Prefetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetcher")
            .field("sources", &self.sources)
            .field("request_bytes", &self.request_bytes)
            .field("readers", &self.readers.len())
            .finish_non_exhaustive()
    }
}

fn sources(storages: Vec<Arc<dyn Storage>>, io: IoMode) -> Arc<[OpenStorage]> {
    let bytes: u64 = storages.iter().map(|storage| storage.len()).fold(0, u64::saturating_add);
    let past_cache = match io {
        IoMode::Direct => true,
        IoMode::Cached => false,
        IoMode::Auto => available_memory().is_some_and(|available| bytes > available / 2),
    };
    let source = |storage: Arc<dyn Storage>| {
        let direct = past_cache.then(|| storage.direct()).flatten();
        OpenStorage { drop_behind: past_cache && direct.is_none(), storage, direct }
    };
    storages.into_iter().map(source).collect()
}

fn whole_pages(bytes: usize) -> usize {
    let largest = usize::MAX - usize::MAX % DIRECT_ALIGNMENT;
    bytes.max(1).checked_next_multiple_of(DIRECT_ALIGNMENT).unwrap_or(largest)
}
