//! Inputs of linear layers as their kernels take them, in memory that is used again and again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use grating_kernels::{Activations, Compute};

use crate::clock::Operation;
use crate::{CpuOps, CpuTensor, Data};

/// Memory that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Activations>>);

/// What is prepared, or memory for it.
#[derive(Debug)]
pub(super) struct Prepared {
    activations: Activations,
    home: Arc<Spare>,
}

/// The input of linear layers: a tensor that is prepared, or what was made of one.
pub(super) enum Input<'a> {
    Given(&'a Activations),
    Made(Prepared),
}

impl CpuOps {
    /// Memory for `[rows, columns]` in products of `compute`: the smallest spare that holds them, or the largest, which grows.
    pub(super) fn prepared(&self, rows: usize, columns: usize, compute: Compute) -> Prepared {
        let bytes = rows * self.kernels.row_bytes(columns, compute);
        let mut spare = self.prepared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_size = |&i: &usize| (spare[i].bytes() < bytes, spare[i].bytes().abs_diff(bytes));
        let best = (0..spare.len()).min_by_key(by_size);
        let activations = best.map(|i| spare.swap_remove(i)).unwrap_or_default();
        Prepared { activations, home: Arc::clone(&self.prepared) }
    }

    /// A tensor for products in `compute`.
    pub(super) fn input<'a>(&self, x: &'a CpuTensor, compute: Compute) -> Input<'a> {
        let numbers = match &x.data {
            Data::Numbers(numbers) => numbers,
            Data::Prepared(prepared) => {
                assert_eq!(prepared.compute(), compute, "it was made for other products");
                return Input::Given(prepared);
            }
        };
        let mut made = self.prepared(x.rows, x.columns, compute);
        self.clock.time(Operation::Prepare, || {
            self.kernels.prepare(numbers, x.rows, x.columns, compute, &mut made);
        });
        Input::Made(made)
    }
}

impl Spare {
    /// Gives the memory back to the system.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Deref for Prepared {
    type Target = Activations;

    fn deref(&self) -> &Activations {
        &self.activations
    }
}

impl DerefMut for Prepared {
    fn deref_mut(&mut self) -> &mut Activations {
        &mut self.activations
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let activations = std::mem::take(&mut self.activations);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(activations);
    }
}

impl Deref for Input<'_> {
    type Target = Activations;

    fn deref(&self) -> &Activations {
        match self {
            Input::Given(given) => given,
            Input::Made(made) => made,
        }
    }
}
