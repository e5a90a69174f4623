//! Reading ahead: the right bytes or the right error, and never a hang.

mod allocator;
mod cancel;
mod delivery;
mod faults;
mod random;
mod shutdown;
mod slots;

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use grating_io::{
    Block, Extent, Faults, FaultyStorage, IoError, IoMode, Lease, MemoryStorage, PrefetchOptions,
    Prefetcher, Storage,
};

const PAGE: usize = 4096;

/// Ends the test when `f` hangs.
fn within<T: Send + 'static>(limit: Duration, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || _ = sender.send(f()));
    match receiver.recv_timeout(limit) {
        Ok(value) => {
            worker.join().unwrap();
            value
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done after {limit:?}: it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().unwrap_err())
        }
    }
}

/// The byte at a position of a storage: neighbours, pages and storages differ.
fn byte(storage: usize, position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9) >> 11) as u8 ^ (position as u8) ^ (storage as u8) << 6
}

fn bytes(storage: usize, offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(|position| byte(storage, position)).collect()
}

/// A storage of `len` such bytes, called "storage N".
fn storage(number: usize, len: usize) -> Arc<dyn Storage> {
    let name = format!("storage {number}");
    Arc::new(MemoryStorage::from_vec(name, bytes(number, 0, len)))
}

fn faulty(number: usize, len: usize, faults: Faults) -> Arc<FaultyStorage> {
    Arc::new(FaultyStorage::new(storage(number, len), faults))
}

/// A storage whose reads wait at a gate, all but those of the first `free` bytes.
#[derive(Debug)]
struct Gated {
    inner: Arc<dyn Storage>,
    free: u64,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    open: bool,
    /// Reads that may pass although it is closed.
    permits: usize,
    /// Reads that wait at it.
    waiting: usize,
    /// Reads that have come to it.
    arrived: usize,
}

impl Gated {
    fn new(inner: Arc<dyn Storage>, free: u64) -> Arc<Self> {
        let (gate, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Gated { inner, free, gate, changed })
    }

    fn change(&self, change: impl FnOnce(&mut Gate)) {
        change(&mut self.gate.lock().unwrap());
        self.changed.notify_all();
    }

    fn open(&self) {
        self.change(|gate| gate.open = true);
    }

    /// Waits until so many reads stand at the gate.
    fn wait_for(&self, reads: usize) {
        let gate = self.gate.lock().unwrap();
        drop(self.changed.wait_while(gate, |gate| gate.waiting < reads).unwrap());
    }

    fn arrived(&self) -> usize {
        self.gate.lock().unwrap().arrived
    }
}

impl Storage for Gated {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        if offset >= self.free {
            let mut gate = self.gate.lock().unwrap();
            gate.arrived += 1;
            gate.waiting += 1;
            self.changed.notify_all();
            let closed = |gate: &mut Gate| !gate.open && gate.permits == 0;
            gate = self.changed.wait_while(gate, closed).unwrap();
            gate.waiting -= 1;
            gate.permits = gate.permits.saturating_sub(1);
        }
        self.inner.read_at(offset, buf)
    }
    fn name(&self) -> &str {
        self.inner.name()
    }
}

/// Waits until as much has been read as will be read.
fn settle(prefetcher: &Prefetcher) {
    while !prefetcher.is_idle() {
        thread::yield_now();
    }
}

/// A block of one extent of storage 0, labelled by its tag.
fn block(tag: u64, offset: u64, len: usize) -> Block {
    Block::new(tag, vec![Extent::new(0, offset, len, format!("tensor {tag}"))])
}

/// Small requests, so that small tests have many.
fn options(slots: &[usize]) -> PrefetchOptions {
    let options = PrefetchOptions::new(slots.to_vec()).with_request_bytes(PAGE);
    options.with_readers(3).with_io(IoMode::Cached)
}

fn start(storage: Arc<dyn Storage>, slots: &[usize]) -> Prefetcher {
    Prefetcher::start(vec![storage], options(slots)).unwrap()
}

#[track_caller]
fn check(lease: &Lease) {
    for (at, extent) in lease.extents().iter().enumerate() {
        let expected = bytes(extent.storage, extent.offset, extent.len);
        assert!(lease.bytes(at) == expected, "other bytes than those of {extent:?}");
    }
}
