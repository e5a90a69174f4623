//! Memory of a thread that is reused from call to call.

use std::cell::RefCell;

use super::tasks::BLOCK_COLUMNS;
use crate::Numbers;
use crate::quant::{GROUP, Step};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread needs to pack operands, and for outcomes.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Packed weights of the panels of a task.
    pub(super) packed: UnitBuffer,
    pub(super) rows: Rows,
    /// Outcomes of the panels of a task on their way to be activated: of two layers where one is the gate of the other.
    pub(super) outcomes: [Numbers; 2],
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

#[cfg(test)]
impl Scratch {
    /// Memory that is held.
    pub(super) fn bytes(&self) -> usize {
        let Rows { floats, quants, steps } = &self.rows;
        let rows = size_of_val(&floats[..]) + size_of_val(&quants[..]) + size_of_val(&steps[..]);
        let outcomes = self.outcomes.iter().map(|o| size_of_val(o.as_slice::<f32>()));
        rows + size_of_val(self.packed.as_units()) + outcomes.sum::<usize>()
    }
}

impl Rows {
    /// Most bytes for panels of so many rows.
    pub(super) const fn most_bytes(rows: usize) -> usize {
        let steps = BLOCK_COLUMNS / GROUP * size_of::<Step>();
        rows * (BLOCK_COLUMNS * (size_of::<f32>() + size_of::<i8>()) + steps)
    }

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

/// Units in memory that is aligned to cache lines and reused.
#[derive(Debug, Default)]
pub(super) struct UnitBuffer(Numbers);

impl UnitBuffer {
    /// Room for `len` units, whatever was in it before.
    pub(super) fn units(&mut self, len: usize) -> &mut [u32] {
        self.0.room(len)
    }

    pub(super) fn as_units(&self) -> &[u32] {
        self.0.as_slice()
    }
}
