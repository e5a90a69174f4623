//! Reading ahead: the right bytes or the right error, and never a hang.

mod cancel;
mod delivery;
mod faults;
mod random;
mod shutdown;
mod slots;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use grating_io::{
    Block, Extent, Faults, FaultyStorage, IoMode, Lease, MemoryStorage, PrefetchOptions,
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

/// A block of one extent of storage 0, labelled by its tag.
fn block(tag: u64, offset: u64, len: usize) -> Block {
    Block::new(tag, vec![Extent::new(0, offset, len, format!("tensor {tag}"))])
}

/// Small requests, so that small tests have many.
fn options(slots: &[usize]) -> PrefetchOptions {
    let io = IoMode::Cached;
    PrefetchOptions { request_bytes: PAGE, readers: 3, io, ..PrefetchOptions::new(slots.to_vec()) }
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
