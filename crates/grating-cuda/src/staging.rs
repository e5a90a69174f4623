//! Page-locked memory of the host that bytes pass through on their way to the device and back.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::{DevicePointer, Driver, Event, Stream};
use crate::error::Result;

/// Bytes of each of the two pieces that a stream's copies pass through: large enough for the link to be busy, small
/// enough not to count.
pub(crate) const PIECE: usize = 4 << 20;

/// Page-locked memory, until it is dropped; by then nothing that is queued may touch it.
#[derive(Debug)]
pub(crate) struct HostBuffer<D: Driver> {
    driver: Arc<D>,
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is memory that it alone owns.
unsafe impl<D: Driver> Send for HostBuffer<D> {}
// SAFETY: shared references read only.
unsafe impl<D: Driver> Sync for HostBuffer<D> {}

impl<D: Driver> HostBuffer<D> {
    pub(crate) fn new(driver: &Arc<D>, bytes: usize) -> Result<Self> {
        let at = driver.allocate_host(bytes)?;
        let buffer = HostBuffer { driver: Arc::clone(driver), at, bytes };
        // SAFETY: it has so many bytes, and nobody else has it. Rust wants memory to be written before it is read.
        unsafe { buffer.at.as_ptr().write_bytes(0, bytes) };
        Ok(buffer)
    }

    /// The first bytes.
    ///
    /// # Safety
    /// Nothing that is queued writes to them.
    pub(crate) unsafe fn bytes(&self, count: usize) -> &[u8] {
        debug_assert!(count <= self.bytes);
        // SAFETY: there are so many, they were written to, and the caller's.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), count) }
    }

    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }
}

impl<D: Driver> Drop for HostBuffer<D> {
    fn drop(&mut self) {
        // SAFETY: it comes from this driver with so many bytes, and whoever queues copies waits for them.
        unsafe { self.driver.free_host(self.at, self.bytes) };
    }
}

/// What copies of one stream pass through, two pieces in turn.
#[derive(Debug)]
pub(crate) struct Staging<D: Driver> {
    driver: Arc<D>,
    stream: Stream,
    ring: Mutex<Ring<D>>,
}

#[derive(Debug)]
struct Ring<D: Driver> {
    pieces: [HostBuffer<D>; 2],
    /// Complete when what was copied from or to the piece has been.
    used: [Event; 2],
    current: usize,
    /// Bytes of the current piece that are taken.
    taken: usize,
}

impl<D: Driver> Staging<D> {
    pub(crate) fn new(driver: &Arc<D>, stream: Stream) -> Result<Self> {
        let pieces = [HostBuffer::new(driver, PIECE)?, HostBuffer::new(driver, PIECE)?];
        let used = [driver.event()?, driver.event()?];
        let ring = Mutex::new(Ring { pieces, used, current: 0, taken: 0 });
        Ok(Staging { driver: Arc::clone(driver), stream, ring })
    }

    fn ring(&self) -> MutexGuard<'_, Ring<D>> {
        // `taken` is moved on before a copy is queued, so a panic elsewhere leaves the ring sound.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a copy to the device; `from` has been read when this returns.
    ///
    /// # Safety
    /// The device has so many bytes there until the copy has run.
    pub(crate) unsafe fn upload(&self, to: DevicePointer, from: &[u8]) -> Result<()> {
        let mut ring = self.ring();
        let mut done = 0;
        while done < from.len() {
            let at = self.room(&mut ring)?;
            let count = (PIECE - at).min(from.len() - done);
            let piece = ring.pieces[ring.current].as_mut_ptr();
            ring.taken = (at + count).next_multiple_of(16).min(PIECE);
            // SAFETY: the piece has so many bytes from there on that no queued copy reads; the caller's for the device.
            unsafe {
                let place = piece.add(at);
                place.copy_from_nonoverlapping(from[done..].as_ptr(), count);
                self.driver.copy_to_device(self.stream, to.offset(done), place, count)?;
            }
            done += count;
        }
        Ok(())
    }

    /// Copies from the device, and waits for it.
    ///
    /// # Safety
    /// The device has so many bytes there.
    pub(crate) unsafe fn download(&self, to: &mut [u8], from: DevicePointer) -> Result<()> {
        let mut ring = self.ring();
        let mut done = 0;
        for part in to.chunks_mut(PIECE) {
            // A whole piece, which is free again at the end.
            self.next_piece(&mut ring)?;
            let (piece, used) = (&ring.pieces[ring.current], ring.used[ring.current]);
            // SAFETY: the piece has so many bytes that no queued copy touches; the caller's for the device. The bytes are
            // read when the copy has run.
            unsafe {
                let place = piece.as_mut_ptr();
                self.driver.copy_to_host(self.stream, place, from.offset(done), part.len())?;
                let copied = self.driver.record(used, self.stream);
                let copied = copied.and_then(|()| self.driver.synchronize(used));
                // Whoever has the piece next must find nothing on its way there.
                copied.inspect_err(|_| drop(self.driver.synchronize_all()))?;
                part.copy_from_slice(piece.bytes(part.len()));
            }
            done += part.len();
        }
        Ok(())
    }

    /// Where in the current piece there is room.
    fn room(&self, ring: &mut Ring<D>) -> Result<usize> {
        if ring.taken == PIECE {
            self.next_piece(ring)?;
        }
        Ok(ring.taken)
    }

    /// Goes on to the other piece, when what was copied through it is done.
    fn next_piece(&self, ring: &mut Ring<D>) -> Result<()> {
        if ring.taken > 0 {
            self.driver.record(ring.used[ring.current], self.stream)?;
        }
        ring.current ^= 1;
        ring.taken = 0;
        self.driver.synchronize(ring.used[ring.current])
    }
}

impl<D: Driver> Drop for Staging<D> {
    fn drop(&mut self) {
        // Copies may be queued still. What fails now has nobody left to tell.
        let _ = self.driver.synchronize_all();
    }
}

/// Small page-locked buffers for numbers on their way to the host, used again.
#[derive(Debug)]
pub(crate) struct Returns<D: Driver> {
    driver: Arc<D>,
    free: Mutex<FreeBuffers<D>>,
}

/// By size, with an event each.
type FreeBuffers<D> = BTreeMap<usize, Vec<(HostBuffer<D>, Event)>>;

impl<D: Driver> Returns<D> {
    pub(crate) fn new(driver: &Arc<D>) -> Arc<Self> {
        Arc::new(Returns { driver: Arc::clone(driver), free: Mutex::default() })
    }

    /// Queues a copy to the host on `stream`.
    ///
    /// # Safety
    /// The device has so many bytes there until the copy has run.
    pub(crate) unsafe fn read(
        self: &Arc<Self>,
        stream: Stream,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<Return<D>> {
        let size = bytes.max(256).next_power_of_two();
        let found = self.free().get_mut(&size).and_then(Vec::pop);
        let (buffer, copied) = match found {
            Some(found) => found,
            None => (HostBuffer::new(&self.driver, size)?, self.driver.event()?),
        };
        let place = buffer.as_mut_ptr();
        let back =
            Return { pool: Arc::clone(self), buffer: Some(buffer), copied, bytes, done: false };
        if bytes > 0 {
            // SAFETY: the buffer has so many bytes and nobody else has it; the caller's for the device.
            unsafe { self.driver.copy_to_host(stream, place, from, bytes)? };
        }
        // Without the event nobody would know of the copy.
        let recorded = self.driver.record(copied, stream);
        recorded.inspect_err(|_| drop(self.driver.synchronize_all()))?;
        Ok(back)
    }

    fn free(&self) -> MutexGuard<'_, FreeBuffers<D>> {
        // Lists are changed in single steps.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers on their way to the host.
#[derive(Debug)]
pub struct Return<D: Driver> {
    pool: Arc<Returns<D>>,
    /// Taken only as this is dropped.
    buffer: Option<HostBuffer<D>>,
    copied: Event,
    bytes: usize,
    done: bool,
}

impl<D: Driver> Return<D> {
    pub(crate) fn wait(mut self) -> Result<Vec<f32>> {
        self.pool.driver.synchronize(self.copied)?;
        self.done = true;
        let Some(buffer) = &self.buffer else { return Ok(Vec::new()) };
        // SAFETY: the copy has run.
        Ok(bytemuck::pod_collect_to_vec(unsafe { buffer.bytes(self.bytes) }))
    }
}

impl<D: Driver> Drop for Return<D> {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        // Nobody has waited, and the copy may be queued still. Where that fails, so does the next use of the device.
        if !self.done && self.pool.driver.synchronize(self.copied).is_err() {
            let _ = self.pool.driver.synchronize_all();
        }
        let size = self.bytes.max(256).next_power_of_two();
        self.pool.free().entry(size).or_default().push((buffer, self.copied));
    }
}
