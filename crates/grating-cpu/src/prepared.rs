//! Inputs of linear layers as their kernels take them, in memory that is used again and again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use grating_kernels::{Activations, Compute};

use crate::clock::Operation;
use crate::{CpuOps, CpuTensor, Data};

/// Memory that nobody uses. Inputs of layers and outcomes that wait for the next layer have one each: with one for both, a
/// chunk that is larger than the one before would make all of it as large as the largest.
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
    /// A tensor for products in `compute`.
    pub(super) fn input<'a>(&self, x: &'a CpuTensor, compute: Compute) -> Input<'a> {
        let numbers = match &x.data {
            Data::Numbers(numbers) => numbers,
            Data::Prepared(prepared) => {
                assert_eq!(prepared.compute(), compute, "it was made for other products");
                return Input::Given(prepared);
            }
        };
        let mut made = self.inputs.take();
        self.clock.time(Operation::Prepare, || {
            self.kernels.prepare(numbers, x.rows, x.columns, compute, &mut made);
        });
        Input::Made(made)
    }
}

impl Spare {
    /// Memory to be prepared in, which comes back when it is dropped.
    pub(super) fn take(self: &Arc<Self>) -> Prepared {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Prepared { activations: spare.unwrap_or_default(), home: Arc::clone(self) }
    }

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

#[cfg(test)]
mod tests {
    use grating_backend::{Activation, Affine, Backend, Format, Ops, Precision, Widths};
    use grating_kernels::Matrix;

    use super::*;
    use crate::{CpuWeight, Isa};

    #[test]
    fn chunks_that_grow_take_no_more_than_the_largest() {
        let (hidden, wide) = (64, 1024);
        for isa in Isa::supported() {
            let ops = CpuOps::new(isa, Precision::Exact);
            let stored = vec![0; 4 * hidden * wide];
            let (up, down) = (
                Matrix::new(Format::F32, wide, hidden, &stored).unwrap(),
                Matrix::new(Format::F32, hidden, wide, &stored).unwrap(),
            );
            let compute = ops.kernels.compute_for(Format::F32, Compute::Digits);
            let up = CpuWeight::Matrix(up, compute, Some(compute));
            let down = CpuWeight::Matrix(down, compute, None);
            let map = |weight| Affine { weight, bias: None };
            let most = 1200;
            for rows in [200, 700, most] {
                let x = ops.empty(rows, hidden).unwrap();
                let sum = ops.copied(&x).unwrap();
                let wide = ops.linear_activated(&x, map(&up), Activation::Relu).unwrap();
                ops.linear_add(sum, &wide, map(&down)).unwrap();
            }
            let held = |spare: &Spare| spare.0.lock().unwrap().iter().map(Activations::bytes).sum();
            let held: usize = [&ops.inputs, &ops.outcomes].map(|spare| held(spare)).iter().sum();
            let row = [hidden, wide].map(|columns| ops.kernels.row_bytes(columns, compute));
            assert!(held <= most * (row[0] + row[1]) + 2 * 4096, "{isa}: {held} bytes");
            let widths = Widths::new(hidden, wide).with_heads(1, 1, hidden);
            let planned = ops.workspace(&widths.with_format(Some(Format::F32), true), most);
            assert!(held <= most * planned.per_token, "{isa}: {held} bytes");
        }
    }
}
