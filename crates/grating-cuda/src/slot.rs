//! Blocks of weights on the device, and the events that order their copies and their use.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use grating_backend::{Format, HostBlock, TensorRef, Then};

use crate::blocks::{BeingCopied, PageLocked};
use crate::driver::{Driver, Event, Stream};
use crate::error::Result;
use crate::link::Link;
use crate::memory::{Buffer, Memory, Use};
use crate::staging::Staging;

/// Tensors begin at multiples of this: kernels read 16 bytes at a time.
const ALIGNMENT: usize = 256;

/// What slots share.
#[derive(Debug)]
pub(crate) struct Queues<D: Driver> {
    pub(crate) driver: Arc<D>,
    /// Kernels, and what they alone need.
    pub(crate) compute: Stream,
    /// Weights on their way to the device.
    pub(crate) copy: Stream,
    pub(crate) memory: Arc<Memory<D>>,
    /// What weights pass through that are not page-locked.
    pub(crate) weights: Staging<D>,
    pub(crate) link: Link<D>,
    /// Memory that blocks are copied from as they lie.
    pub(crate) page_locked: Arc<PageLocked>,
    /// Blocks in there whose copies may not have run.
    pub(crate) being_copied: BeingCopied<D>,
    /// Events of slots that are gone, to be recorded anew by others: drivers keep each that was made.
    pub(crate) events: Mutex<Vec<SlotEvents>>,
}

/// The events that order a slot's copies and uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotEvents {
    /// On the copy stream, after the block's copies.
    copied: Event,
    /// On the compute stream, after the last use.
    used: Event,
}

impl<D: Driver> Queues<D> {
    fn slot_events(&self) -> Result<SlotEvents> {
        let free = self.events.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let new = || Ok(SlotEvents { copied: self.driver.event()?, used: self.driver.event()? });
        free.map_or_else(new, Ok)
    }
}

/// A block of weights on the device.
#[derive(Debug)]
pub struct CudaSlot<D: Driver> {
    queues: Arc<Queues<D>>,
    buffer: Buffer<D>,
    /// Where each tensor begins.
    places: Vec<usize>,
    events: SlotEvents,
    /// Whether the compute stream has been told to wait for the copies.
    ordered: AtomicBool,
    /// Weights bound to it now.
    bound: AtomicUsize,
}

impl<D: Driver> CudaSlot<D> {
    /// A slot with the block's bytes on their way, in place of `spare` where that is large enough. What is not page-locked
    /// of the block has been read when this returns, and the rest is kept until it has been.
    pub(crate) fn fill(
        queues: &Arc<Queues<D>>,
        block: Arc<dyn HostBlock>,
        spare: Option<CudaSlot<D>>,
    ) -> Result<Self> {
        let mut places = Vec::with_capacity(block.len());
        let mut end = 0_usize;
        for index in 0..block.len() {
            places.push(end);
            end = (end + block.bytes(index).len()).next_multiple_of(ALIGNMENT);
        }
        let mut slot = match spare.filter(|spare| spare.buffer.bytes() >= end) {
            Some(spare) => spare,
            None => Self::empty(queues, end)?,
        };
        slot.places = places;
        match slot.copy(&*block) {
            Ok(at_once) => {
                if !at_once {
                    queues.being_copied.keep(block, slot.events.copied);
                }
                Ok(slot)
            }
            Err(error) => {
                // Some copies of the block may be queued, and no event follows them.
                let _ = queues.driver.synchronize_all();
                Err(error)
            }
        }
    }

    /// Whether nothing reads the block any more.
    fn copy(&mut self, block: &dyn HostBlock) -> Result<bool> {
        let Queues { driver, copy, weights, link, page_locked, .. } = &*self.queues;
        let mut at_once = true;
        driver.wait(*copy, self.events.used)?;
        let bytes = (0..block.len()).map(|index| block.bytes(index).len()).sum();
        link.copying(*copy, bytes, || {
            self.places.iter().enumerate().try_for_each(|(index, &place)| {
                let (to, bytes) = (self.buffer.at().offset(place), block.bytes(index));
                let in_place = !bytes.is_empty() && page_locked.holds(bytes);
                at_once &= !in_place;
                // SAFETY: the slot has room for all tensors, and stays until the copies have run: its buffer goes on to
                // nobody whom the compute stream does not order behind them. So does a block that is copied in place.
                unsafe {
                    match in_place {
                        true => driver.copy_to_device(*copy, to, bytes.as_ptr(), bytes.len()),
                        false => weights.upload(to, bytes),
                    }
                }
            })
        })?;
        driver.record(self.events.copied, *copy)?;
        *self.ordered.get_mut() = false;
        Ok(at_once)
    }

    fn empty(queues: &Arc<Queues<D>>, bytes: usize) -> Result<Self> {
        let buffer = queues.memory.take(bytes, Use::Weights)?;
        let events = queues.slot_events()?;
        let slot = CudaSlot {
            queues: Arc::clone(queues),
            buffer,
            places: Vec::new(),
            events,
            ordered: AtomicBool::new(true),
            bound: AtomicUsize::new(0),
        };
        // Whoever had the buffer before may have uses of it queued.
        queues.driver.record(events.used, queues.compute)?;
        Ok(slot)
    }

    /// Orders what is queued on the compute stream from here on behind the copies.
    fn order(&self) -> Result<()> {
        if !self.ordered.swap(true, Ordering::Relaxed) {
            let Queues { driver, compute, link, .. } = &*self.queues;
            let waits = link.waiting(*compute, || driver.wait(*compute, self.events.copied));
            // Who comes after an error, if only to give the slot back, must wait all the same.
            waits.inspect_err(|_| self.ordered.store(false, Ordering::Relaxed))?;
        }
        Ok(())
    }

    pub(crate) fn bind(&self, tensor: &TensorRef<'_>, rounded: bool) -> Result<CudaWeight<'_, D>> {
        self.order()?;
        self.bound.fetch_add(1, Ordering::Relaxed);
        Ok(CudaWeight {
            slot: self,
            at: self.buffer.at().offset(self.places[tensor.index]).0,
            format: tensor.format,
            rows: tensor.shape[0],
            columns: tensor.shape.get(1).copied().unwrap_or(1),
            added: if tensor.one_added { 1.0 } else { 0.0 },
            rounded,
            then: tensor.then,
        })
    }
}

impl<D: Driver> Drop for CudaSlot<D> {
    fn drop(&mut self) {
        // The buffer goes on to others in the compute stream's order: the copies must have a place in it. Where that fails
        // the device is lost, and so is whatever runs on it.
        if self.order().is_err() {
            let _ = self.queues.driver.synchronize_all();
        }
        self.queues.events.lock().unwrap_or_else(PoisonError::into_inner).push(self.events);
    }
}

/// A weight where it lies on the device.
#[derive(Debug)]
pub struct CudaWeight<'s, D: Driver> {
    slot: &'s CudaSlot<D>,
    pub(crate) at: u64,
    pub(crate) format: Format,
    /// Of a matrix, or a vector's elements.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// To each element of a vector.
    pub(crate) added: f32,
    /// Whether products with it are of bf16.
    pub(crate) rounded: bool,
    /// What becomes of the outcome of an operation with it.
    pub(crate) then: Then,
}

impl<D: Driver> Drop for CudaWeight<'_, D> {
    fn drop(&mut self) {
        if self.slot.bound.fetch_sub(1, Ordering::Relaxed) == 1 {
            let Queues { driver, compute, .. } = &*self.slot.queues;
            // Without the event nothing that uses the slot may be queued any more. Where that fails, too, the device is lost,
            // and the next call says so.
            if driver.record(self.slot.events.used, *compute).is_err() {
                let _ = driver.synchronize_all();
            }
        }
    }
}
