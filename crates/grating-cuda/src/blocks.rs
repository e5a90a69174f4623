//! Blocks of weights in the host's memory: page-locked memory that they are read into, and those that are being copied.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grating_backend::{HostAllocator, HostBlock, HostMemory};

use crate::driver::{Driver, Event};
use crate::error::{DriverError, Result};
use crate::staging::HostBuffer;

/// What readers want memory in, bytes.
const PAGE: usize = 4096;

/// Where page-locked memory for blocks is: its first address and the one after its last, of each piece.
#[derive(Debug, Default)]
pub(crate) struct PageLocked(Mutex<BTreeMap<usize, usize>>);

impl PageLocked {
    fn pieces(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        // Entries are put in and taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these bytes can be copied from where they are.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        let start = bytes.as_ptr().addr();
        let pieces = self.pieces();
        let before = pieces.range(..=start).next_back();
        before.is_some_and(|(_, &end)| start + bytes.len() <= end)
    }
}

/// Whole pages of page-locked memory.
struct Pages<D: Driver> {
    buffer: HostBuffer<D>,
    /// From the buffer's first byte to the first page.
    skip: usize,
    bytes: usize,
    known: Arc<PageLocked>,
}

impl<D: Driver> Pages<D> {
    fn new(driver: &Arc<D>, known: &Arc<PageLocked>, bytes: usize) -> Result<Self> {
        // Drivers promise less than a page's alignment.
        let room = bytes
            .checked_add(PAGE)
            .ok_or(DriverError::OutOfMemory { memory: "the host", bytes: bytes as u64 })?;
        let buffer = HostBuffer::new(driver, room)?;
        let start = buffer.as_mut_ptr().addr();
        let skip = start.next_multiple_of(PAGE) - start;
        known.pieces().insert(start + skip, start + skip + bytes);
        Ok(Pages { buffer, skip, bytes, known: Arc::clone(known) })
    }
}

impl<D: Driver> AsMut<[u8]> for Pages<D> {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the buffer has `skip` bytes and so many after them, which were written to; nobody else has it, and
        // copies from it keep whoever has this.
        unsafe {
            let start = self.buffer.as_mut_ptr().add(self.skip);
            std::slice::from_raw_parts_mut(start, self.bytes)
        }
    }
}

impl<D: Driver> Drop for Pages<D> {
    fn drop(&mut self) {
        // Before the memory is anybody else's.
        self.known.pieces().remove(&(self.buffer.as_mut_ptr().addr() + self.skip));
    }
}

/// Page-locked memory, or none where the host gives no more of it.
pub(crate) fn allocator<D: Driver>(driver: &Arc<D>, known: &Arc<PageLocked>) -> HostAllocator {
    let (driver, known) = (Arc::clone(driver), Arc::clone(known));
    Arc::new(move |bytes| match Pages::new(&driver, &known, bytes) {
        Ok(pages) => Ok(Some(Box::new(pages) as HostMemory)),
        Err(DriverError::OutOfMemory { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    })
}

/// Blocks that copies read from, until an event says that they have run.
pub(crate) struct BeingCopied<D: Driver> {
    driver: Arc<D>,
    blocks: Mutex<Vec<(Event, Arc<dyn HostBlock>)>>,
}

impl<D: Driver> fmt::Debug for BeingCopied<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeingCopied").field("blocks", &self.blocks().len()).finish_non_exhaustive()
    }
}

impl<D: Driver> BeingCopied<D> {
    pub(crate) fn new(driver: &Arc<D>) -> Self {
        BeingCopied { driver: Arc::clone(driver), blocks: Mutex::default() }
    }

    fn blocks(&self) -> MutexGuard<'_, Vec<(Event, Arc<dyn HostBlock>)>> {
        // Entries are put in and taken out whole.
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a block until the event, which was recorded after its copies, is complete.
    pub(crate) fn keep(&self, block: Arc<dyn HostBlock>, copied: Event) {
        self.blocks().push((copied, block));
    }

    /// Lets go of what has been copied; waits for nothing.
    pub(crate) fn let_go(&self) {
        let mut blocks = self.blocks();
        // What a driver that has failed says of an event does not count: the next wait tells.
        let done = |(copied, _): &(Event, _)| self.driver.is_complete(*copied).unwrap_or(false);
        let copied: Vec<_> = blocks.extract_if(.., |entry| done(entry)).collect();
        // What a block gives back may ask for memory.
        drop(blocks);
        drop(copied);
    }

    /// Waits for all copies, and lets go of their blocks.
    ///
    /// # Errors
    /// The first wait that failed. Then whatever was queued has been waited for, as far as the driver still can.
    pub(crate) fn finish(&self) -> Result<()> {
        let blocks = std::mem::take(&mut *self.blocks());
        let waits = blocks.iter().map(|(copied, _)| self.driver.synchronize(*copied));
        let outcome = waits.collect::<Result<()>>();
        if outcome.is_err() {
            let _ = self.driver.synchronize_all();
        }
        outcome
    }
}

impl<D: Driver> Drop for BeingCopied<D> {
    fn drop(&mut self) {
        // What fails now has nobody left to tell.
        let _ = self.finish();
    }
}
