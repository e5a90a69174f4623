//! Blocks that are read into page-locked memory are copied from where they lie, and kept until they have been.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

mod chain;

use std::io;
use std::sync::{Arc, Weak};

use chain::COLUMNS;
use grating_backend::{Affine, Backend, BackendError, Format, HostBlock, Ops, TensorRef};
use grating_conformance::operations::HostTensors;
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Call, Emulated, Order};
use grating_io::{Block, Extent, Lease, MemoryStorage, PrefetchOptions, Prefetcher, SlotAllocator};

const BLOCKS: u64 = 9;
const BYTES: usize = COLUMNS * COLUMNS * size_of::<f32>();

/// A block that was read.
struct Read(Lease);

impl HostBlock for Read {
    fn len(&self) -> usize {
        self.0.extents().len()
    }

    fn bytes(&self, index: usize) -> &[u8] {
        self.0.bytes(index)
    }
}

fn on(device: &Emulated) -> CudaBackend<Emulated> {
    CudaBackend::new(device.clone(), CudaOptions::default()).unwrap()
}

/// Matrices one after another.
fn stored() -> Vec<u8> {
    let number = |i: usize| ((i * 7 + i / BYTES * 131) % 19) as f32 / 19.0 - 0.5;
    (0..BLOCKS as usize * COLUMNS * COLUMNS).flat_map(|i| number(i).to_le_bytes()).collect()
}

/// Reads all of them into so many slots of the backend's memory.
fn reading(ops: &CudaBackend<Emulated>, slots: usize) -> Prefetcher {
    let allocate = ops.host_memory().unwrap();
    let allocator: SlotAllocator = Arc::new(move |bytes| allocate(bytes).map_err(io::Error::other));
    let block = |tag| Block::new(tag, vec![Extent::new(0, tag * BYTES as u64, BYTES, "matrix")]);
    let options = PrefetchOptions::new(vec![block(1).slot_bytes(); slots]);
    let storage = Arc::new(MemoryStorage::from_vec("matrices", stored()));
    let prefetcher = Prefetcher::start_in(vec![storage], options, Some(allocator)).unwrap();
    prefetcher.schedule((0..BLOCKS).map(block)).unwrap();
    prefetcher
}

/// Three rows through all matrices, which come from `next`, with two slots on the device.
fn through(
    ops: &CudaBackend<Emulated>,
    next: impl FnMut(usize) -> Arc<dyn HostBlock>,
) -> Result<Vec<f32>, BackendError> {
    ops.wait(ops.read(&chain::through(ops, 3, BLOCKS as usize, next)?)?)
}

/// What comes of blocks in ordinary memory.
fn expected() -> Vec<f32> {
    let stored = stored();
    let block = |index: usize| -> Arc<dyn HostBlock> {
        Arc::new(HostTensors(vec![stored[index * BYTES..][..BYTES].to_vec()]))
    };
    let expected = through(&on(&Emulated::new(None, Order::Late)), block).unwrap();
    assert!(expected.iter().all(|x| x.is_finite()) && expected.iter().any(|x| x.abs() > 0.01));
    expected
}

fn streamed(ops: &CudaBackend<Emulated>, slots: usize) -> Result<Vec<f32>, BackendError> {
    let prefetcher = reading(ops, slots);
    through(ops, |_| {
        if !prefetcher.is_ready() {
            ops.finish_copies().unwrap();
        }
        Arc::new(Read(prefetcher.next().unwrap()))
    })
}

#[test]
fn no_slot_is_read_into_before_it_has_been_copied() {
    let expected = expected();
    let orders = [Order::Late, Order::FirstQueueAtOnce, Order::OtherQueuesAtOnce];
    for order in orders.into_iter().chain((0..10).map(Order::Random)) {
        for slots in 1..4 {
            let device = Emulated::new(None, order);
            let ops = on(&device);
            let (before, _) = device.page_locked();
            assert_eq!(streamed(&ops, slots).unwrap(), expected, "{order:?}, {slots} slots");
            let (after, most) = device.page_locked();
            assert!(most >= before + (slots * BYTES) as u64, "{slots} slots: {before} to {most}");
            // The buffer of the answer stays.
            assert!(after <= before + 1024, "{after} of {before} are left");
        }
    }
}

/// A block of the first matrix, and whether somebody keeps it.
fn first(prefetcher: &Prefetcher) -> (Arc<dyn HostBlock>, Weak<dyn HostBlock>) {
    let block: Arc<dyn HostBlock> = Arc::new(Read(prefetcher.next().unwrap()));
    let kept = Arc::downgrade(&block);
    (block, kept)
}

#[test]
fn a_block_is_kept_while_it_is_copied_from() {
    let ops = on(&Emulated::new(None, Order::Late));
    let prefetcher = reading(&ops, 3);
    let (block, kept) = first(&prefetcher);
    let slot = ops.admit(block, None).unwrap();
    assert!(kept.upgrade().is_some(), "nothing has been copied yet");
    ops.finish_copies().unwrap();
    assert!(kept.upgrade().is_none());
    // Who waits for an answer has waited for the copies before it.
    let (block, kept) = first(&prefetcher);
    let slot = ops.admit(block, Some(slot)).unwrap();
    let weight = ops.bind(&slot, TensorRef::new(0, Format::F32, &[COLUMNS, COLUMNS])).unwrap();
    let x = ops.written(1, COLUMNS, |x| {
        x.fill(1.0);
        Ok::<(), BackendError>(())
    });
    let [y] = ops.linear(&x.unwrap(), [Affine { weight: &weight, bias: None }]).unwrap();
    assert!(kept.upgrade().is_some());
    ops.wait(ops.read(&y).unwrap()).unwrap();
    assert!(kept.upgrade().is_none());
    drop(weight);
    // Ordinary memory has been read when it is admitted.
    let block: Arc<dyn HostBlock> = Arc::new(HostTensors(vec![stored()[..BYTES].to_vec()]));
    let kept = Arc::downgrade(&block);
    let slot = ops.admit(block, Some(slot)).unwrap();
    assert!(kept.upgrade().is_none());
    // And a backend that goes lets go of all.
    let (block, kept) = first(&prefetcher);
    drop(ops.admit(block, Some(slot)).unwrap());
    drop(ops);
    assert!(kept.upgrade().is_none());
}

#[test]
fn where_no_memory_can_be_page_locked_ordinary_memory_does() {
    let expected = expected();
    let device = Emulated::new(None, Order::Random(3));
    let ops = on(&device);
    device.fail(Call::AllocateHost, 0);
    assert_eq!(streamed(&ops, 1).unwrap(), expected);
    let (now, most) = device.page_locked();
    assert!(most < now + BYTES as u64, "the slot was page-locked nevertheless");
}

#[test]
fn copies_and_waits_that_fail_let_go_of_their_blocks() {
    for call in [Call::Copy, Call::Synchronize] {
        let device = Emulated::new(None, Order::Late);
        let ops = on(&device);
        let prefetcher = reading(&ops, 1);
        let (block, kept) = first(&prefetcher);
        device.fail(call, 0);
        let outcome = ops.admit(block, None).and_then(|slot| {
            let finished = ops.finish_copies();
            drop(slot);
            finished
        });
        let Err(BackendError::Failed { reason }) = outcome else { panic!("{call:?} went well") };
        assert!(reason.contains("a test asked for"), "{reason}");
        assert!(kept.upgrade().is_none(), "{call:?}");
        drop(prefetcher);
        assert_eq!(streamed(&ops, 2).unwrap(), expected(), "after {call:?}");
    }
}
