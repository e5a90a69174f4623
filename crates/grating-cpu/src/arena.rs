//! Buffers of activations that are used again and again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grating_kernels::Numbers;

/// Buffers that no tensor uses, and a count of those in use.
#[derive(Debug, Default)]
pub(super) struct Arena {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Numbers>,
    /// Elements of all buffers, free or used.
    held: usize,
    /// Most that was ever held.
    peak: usize,
}

/// Elements of an [`Arena`]; their values are whatever the last user left.
#[derive(Debug)]
pub(super) struct Buffer {
    data: Numbers,
    used: usize,
    home: Arc<Arena>,
}

/// Elements that there is room for.
fn room(memory: &Numbers) -> usize {
    memory.as_slice::<f32>().len()
}

impl Arena {
    /// A buffer of `len` elements: the smallest free one that holds them and is at most twice as large as `wanted`, or a
    /// new one of `wanted` elements, for larger tensors to come, in place of the largest that is too small.
    pub(super) fn take(self: &Arc<Self>, len: usize, wanted: usize) -> Buffer {
        let mut state = self.lock();
        let wanted = wanted.max(len);
        let fits = |b: &&Numbers| (len..=2 * wanted.max(1 << 12)).contains(&room(b));
        let best = state.free.iter().filter(fits).map(room).min();
        let data = match best.and_then(|size| state.free.iter().position(|b| room(b) == size)) {
            Some(index) => state.free.swap_remove(index),
            None => {
                let small = (0..state.free.len()).filter(|&i| room(&state.free[i]) < len);
                if let Some(index) = small.max_by_key(|&i| room(&state.free[i])) {
                    let dropped = state.free.swap_remove(index);
                    state.held -= room(&dropped);
                }
                let memory = Numbers::zeroed::<f32>(wanted);
                state.hold(room(&memory));
                memory
            }
        };
        Buffer { data, used: len, home: Arc::clone(self) }
    }

    /// Most bytes that were held at one time.
    pub(super) fn peak_bytes(&self) -> u64 {
        (self.lock().peak * size_of::<f32>()) as u64
    }

    /// Drops the free buffers and starts a new peak.
    pub(super) fn trim(&self) {
        let mut state = self.lock();
        let freed: usize = state.free.drain(..).map(|b| room(&b)).sum();
        state.held -= freed;
        state.peak = state.held;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps, so a panic elsewhere leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, elements: usize) {
        self.held += elements;
        self.peak = self.peak.max(self.held);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data.as_slice()[..self.used]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data.as_mut_slice()[..self.used]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.home.lock().free.push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again() {
        let arena = Arc::new(Arena::default());
        let first = arena.take(10_000, 0);
        let address = first.as_ptr();
        drop(first);
        let second = arena.take(9_000, 0);
        assert_eq!((second.as_ptr(), second.len()), (address, 9_000));
        assert_eq!(arena.peak_bytes(), 40_000);
    }

    #[test]
    fn a_larger_need_replaces_a_small_free_buffer() {
        let arena = Arc::new(Arena::default());
        drop(arena.take(10_000, 0));
        drop(arena.take(30_000, 0));
        assert_eq!(arena.peak_bytes(), 120_000, "the small one was given back first");
        arena.trim();
        assert_eq!(arena.peak_bytes(), 0);
        drop(arena.take(7_000, 10_000));
        let larger = arena.take(9_000, 10_000);
        assert_eq!((larger.len(), arena.peak_bytes()), (9_000, 40_000), "it has the room");
    }
}
