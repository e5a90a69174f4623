//! Memory with guards: the device's, counted against a budget, and page-locked memory of the host.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;

/// Bytes before and after an allocation that nobody may write to.
const GUARD: usize = 256;

/// What memory is filled with before it is written to: NaN as f32, f16 and bf16.
pub(crate) const POISON: u8 = 0xff;

/// Allocations by address.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    allocations: BTreeMap<u64, usize>,
    pub(crate) allocated: u64,
    pub(crate) peak: u64,
    pub(crate) budget: Option<u64>,
}

impl Memory {
    pub(crate) fn within(budget: Option<u64>) -> Self {
        let mut memory = Memory::default();
        memory.budget = budget;
        memory
    }

    /// None where the budget has no room.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Option<u64> {
        let allocated = self.allocated + bytes as u64;
        if self.budget.is_some_and(|budget| allocated > budget) {
            return None;
        }
        (self.allocated, self.peak) = (allocated, self.peak.max(allocated));
        let layout = layout(bytes);
        // SAFETY: the layout has a size; all of it is written.
        let at = unsafe {
            let at = alloc(layout);
            assert!(!at.is_null(), "no memory for {bytes} bytes");
            at.write_bytes(POISON, layout.size());
            at as u64 + GUARD as u64
        };
        self.allocations.insert(at, bytes);
        Some(at)
    }

    /// Whether the guards were whole.
    pub(crate) fn free(&mut self, at: u64) -> bool {
        let bytes = self.allocations.remove(&at).expect("memory that was allocated");
        self.allocated -= bytes as u64;
        let whole = guards_are_whole(at, bytes);
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc((at - GUARD as u64) as *mut u8, layout(bytes)) };
        whole
    }

    /// Whether all guards are whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.allocations.iter().all(|(&at, &bytes)| guards_are_whole(at, bytes))
    }

    /// Whether so many bytes there are of one allocation.
    pub(crate) fn holds(&self, at: u64, bytes: usize) -> bool {
        let before = self.allocations.range(..=at).next_back();
        before.is_some_and(|(&start, &all)| at + bytes as u64 <= start + all as u64)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let all: Vec<u64> = self.allocations.keys().copied().collect();
        all.into_iter().for_each(|at| _ = self.free(at));
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes + 2 * GUARD, 256).expect("a size that a machine can have")
}

fn guards_are_whole(at: u64, bytes: usize) -> bool {
    let start = (at - GUARD as u64) as *const u8;
    // SAFETY: the allocation and its guards were written as they were made.
    let all = unsafe { std::slice::from_raw_parts(start, bytes + 2 * GUARD) };
    let (before, after) = (&all[..GUARD], &all[GUARD + bytes..]);
    before.iter().chain(after).all(|&byte| byte == POISON)
}
