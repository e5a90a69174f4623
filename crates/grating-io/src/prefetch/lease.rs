//! A block in memory, for as long as somebody needs it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::block::Extent;
use super::handover::{Handover, Ready};
use super::memory::Region;

/// A block that has been read. Its slot is free for the next block when it is dropped.
///
/// It may be kept for ever, across [`cancel`](super::Prefetcher::cancel) and beyond the life of the
/// prefetcher; the slot is out of use meanwhile.
pub struct Lease {
    handover: Arc<Handover<Region>>,
    /// `None` only while it is dropped.
    ready: Option<Ready<Region>>,
}

impl Lease {
    pub(super) fn new(handover: Arc<Handover<Region>>, ready: Ready<Region>) -> Self {
        Lease { handover, ready: Some(ready) }
    }

    fn ready(&self) -> &Ready<Region> {
        match &self.ready {
            Some(ready) => ready,
            None => unreachable!("only `drop` takes it"),
        }
    }

    /// The block's name, as scheduled.
    pub fn tag(&self) -> u64 {
        self.ready().placement.block.tag
    }

    /// The block's extents, as scheduled.
    pub fn extents(&self) -> &[Extent] {
        &self.ready().placement.block.extents
    }

    /// The bytes of the extent at this position in [`Lease::extents`].
    ///
    /// The address of the first one modulo 4096 is its offset in the file modulo 4096, so that
    /// numbers which are aligned in the file are aligned in memory, whichever way they were read.
    ///
    /// # Panics
    /// If there is no such extent.
    pub fn bytes(&self, extent: usize) -> &[u8] {
        let ready = self.ready();
        &ready.memory.bytes()[ready.placement.places[extent].clone()]
    }

    /// When the block was read: from its first request to the end of its last.
    pub fn read_span(&self) -> Range<Instant> {
        self.ready().read.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ready) = self.ready.take() {
            self.handover.give_back(ready.slot, ready.memory);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("tag", &self.tag())
            .field("extents", &self.extents().len())
            .finish_non_exhaustive()
    }
}
