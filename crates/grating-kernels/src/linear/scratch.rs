//! Memory of a thread that is reused from call to call.

use std::cell::RefCell;

use super::plan::BLOCK_COLUMNS;
use crate::quant::{GROUP, Step};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread needs to pack operands: less than 1 MiB.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Packed weights of the panels of a task.
    pub(super) packed: UnitBuffer,
    pub(super) rows: Rows,
}

/// Rows of one panel or tile on the way to being packed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    floats: Vec<f32>,
    quants: Vec<i8>,
    steps: Vec<Step>,
}

impl Scratch {
    /// Runs `work` with the scratch of this thread. `work` must not do so itself.
    pub(super) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        SCRATCH.with_borrow_mut(work)
    }
}

impl Rows {
    /// `rows` rows of [`BLOCK_COLUMNS`] numbers.
    pub(super) fn floats(&mut self, rows: usize) -> &mut [f32] {
        let len = rows * BLOCK_COLUMNS;
        self.floats.resize(self.floats.len().max(len), 0.0);
        &mut self.floats[..len]
    }

    /// `rows` rows of [`BLOCK_COLUMNS`] signed bytes, and their steps.
    pub(super) fn quants(&mut self, rows: usize) -> (&mut [i8], &mut [Step]) {
        let (len, steps) = (rows * BLOCK_COLUMNS, rows * (BLOCK_COLUMNS / GROUP));
        self.quants.resize(self.quants.len().max(len), 0);
        self.steps.resize(self.steps.len().max(steps), Step::default());
        (&mut self.quants[..len], &mut self.steps[..steps])
    }
}

/// One cache line of units.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Units in memory that is aligned to cache lines and reused.
#[derive(Default)]
pub(super) struct UnitBuffer(Vec<Line>);

impl UnitBuffer {
    /// Room for `len` units, whatever was in it before.
    pub(super) fn units(&mut self, len: usize) -> &mut [u32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.clear();
            self.0.resize(lines, Line([0; 16]));
        }
        &mut self.as_units_mut()[..len]
    }

    pub(super) fn as_units(&self) -> &[u32] {
        // SAFETY: a line is 16 units without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    fn as_units_mut(&mut self) -> &mut [u32] {
        // SAFETY: a line is 16 units without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }
}

impl std::fmt::Debug for UnitBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnitBuffer({} bytes)", self.0.len() * size_of::<Line>())
    }
}
