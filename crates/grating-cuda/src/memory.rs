//! The device's memory: what nobody uses any more is kept for the next who asks, within the budget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grating_backend::DeviceMemory;

use crate::driver::{DevicePointer, Driver, Stream};
use crate::error::{DriverError, Result};

/// Allocations are whole multiples of this.
const LEAST: usize = 512;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Tensors that come and go: sizes are rounded up by at most an eighth, so that they fit others.
    Activations,
    /// Weights: as large as they are.
    Weights,
}

/// Buffers of a device. A buffer that is given back may be in use still by what is queued: whoever takes it next queues
/// its use later on the same stream, or orders another stream behind that one.
#[derive(Debug)]
pub(crate) struct Memory<D: Driver> {
    driver: Arc<D>,
    /// The stream in whose order buffers are used again.
    stream: Stream,
    budget: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Buffers that nobody has, by size.
    free: BTreeMap<usize, Vec<DevicePointer>>,
    /// Of the driver's, bytes: what is in use and what is free.
    allocated: u64,
    most_allocated: u64,
    activations: u64,
    peak: u64,
}

/// Memory of the device, until it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer<D: Driver> {
    memory: Arc<Memory<D>>,
    at: DevicePointer,
    bytes: usize,
    purpose: Use,
}

impl<D: Driver> Memory<D> {
    pub(crate) fn new(driver: Arc<D>, stream: Stream, budget: Option<u64>) -> Arc<Self> {
        Arc::new(Memory { driver, stream, budget, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts and lists are changed together, so a panic elsewhere leaves them sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least so many bytes, whose contents are unspecified.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize, purpose: Use) -> Result<Buffer<D>> {
        let size = rounded(bytes, purpose);
        let mut state = self.state();
        let at_most = size + size / 4;
        let found = state.free.range(size..=at_most).next().map(|(&size, _)| size);
        let (at, size) = match found {
            Some(size) => (state.take_free(size), size),
            None => (self.allocate(&mut state, size)?, size),
        };
        if purpose == Use::Activations {
            state.activations += size as u64;
            state.peak = state.peak.max(state.activations);
        }
        drop(state);
        let buffer = Buffer { memory: Arc::clone(self), at, bytes: size, purpose };
        // SAFETY: the buffer has so many bytes.
        unsafe { self.driver.forget(self.stream, at, size)? };
        Ok(buffer)
    }

    fn allocate(&self, state: &mut State, size: usize) -> Result<DevicePointer> {
        let fits = |state: &State| {
            self.budget.is_none_or(|budget| state.allocated.saturating_add(size as u64) <= budget)
        };
        if !fits(state) {
            self.release(state);
        }
        if !fits(state) {
            return Err(DriverError::OutOfMemory { memory: "the device", bytes: size as u64 });
        }
        let at = match self.driver.allocate(size) {
            Err(DriverError::OutOfMemory { .. }) if !state.free.is_empty() => {
                self.release(state);
                self.driver.allocate(size)
            }
            outcome => outcome,
        }?;
        state.allocated += size as u64;
        state.most_allocated = state.most_allocated.max(state.allocated);
        Ok(at)
    }

    /// Gives what nobody uses back to the driver.
    fn release(&self, state: &mut State) {
        for (size, buffers) in std::mem::take(&mut state.free) {
            for at in buffers {
                state.allocated -= size as u64;
                // SAFETY: nobody has it, so nothing more is queued for it.
                unsafe { self.driver.free(at) };
            }
        }
    }

    /// Gives what nobody uses back to the driver, and counts the peak anew.
    pub(crate) fn trim(&self) {
        let mut state = self.state();
        self.release(&mut state);
        state.peak = state.activations;
        state.most_allocated = state.allocated;
    }

    /// What is allocated now, and most since the last [`Self::trim`].
    pub(crate) fn held(&self) -> DeviceMemory {
        let state = self.state();
        DeviceMemory::new(state.allocated, state.most_allocated)
    }

    /// Most bytes of activations at one time since the last [`Self::trim`].
    pub(crate) fn peak(&self) -> u64 {
        self.state().peak
    }
}

impl State {
    fn take_free(&mut self, size: usize) -> DevicePointer {
        let buffers = self.free.get_mut(&size).expect("a size that was found");
        let at = buffers.pop().expect("sizes without buffers are removed");
        if buffers.is_empty() {
            self.free.remove(&size);
        }
        at
    }
}

impl<D: Driver> Drop for Memory<D> {
    fn drop(&mut self) {
        let mut state = std::mem::take(&mut *self.state());
        self.release(&mut state);
    }
}

impl<D: Driver> Buffer<D> {
    pub(crate) fn at(&self) -> DevicePointer {
        self.at
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<D: Driver> Drop for Buffer<D> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        if self.purpose == Use::Activations {
            state.activations -= self.bytes as u64;
        }
        state.free.entry(self.bytes).or_default().push(self.at);
    }
}

/// The size of a buffer for so many bytes.
pub(crate) fn rounded(bytes: usize, purpose: Use) -> usize {
    let bytes = bytes.max(1);
    let step = match purpose {
        Use::Activations => (bytes.next_power_of_two() / 16).max(LEAST),
        Use::Weights => LEAST,
    };
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_by_little() {
        for bytes in [1, 511, 512, 513, 4095, 4097, 100_000, 1 << 20, (1 << 20) + 1, 77_777_777] {
            let (tensor, weights) =
                (rounded(bytes, Use::Activations), rounded(bytes, Use::Weights));
            assert!(
                tensor >= bytes && tensor <= bytes + (bytes / 8).max(LEAST),
                "{bytes}: {tensor}"
            );
            assert!(weights >= bytes && weights < bytes + LEAST, "{bytes}: {weights}");
        }
        assert_eq!(rounded(0, Use::Weights), LEAST);
    }
}
