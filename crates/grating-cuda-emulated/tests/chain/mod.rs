//! Rows through a chain of square matrices, each of which is a block of weights of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use grating_backend::{
    Activation, Affine, Backend, BackendError, Format, HostBlock, Ops, Result, TensorRef,
};
use grating_cuda::CudaBackend;
use grating_cuda_emulated::Emulated;

pub(crate) const COLUMNS: usize = 48;

/// So many rows through the matrices that `next` gives, each admitted in the slot of the one before last.
pub(crate) fn through(
    ops: &CudaBackend<Emulated>,
    rows: usize,
    blocks: usize,
    mut next: impl FnMut(usize) -> Arc<dyn HostBlock>,
) -> Result<<CudaBackend<Emulated> as Backend>::Tensor> {
    let mut x = ops.written(rows, COLUMNS, |out| {
        out.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 11) as f32 / 11.0);
        Ok::<(), BackendError>(())
    })?;
    let mut slots = VecDeque::new();
    for index in 0..blocks {
        let spare = if slots.len() == 2 { slots.pop_front() } else { None };
        let slot = ops.admit(next(index), spare)?;
        let weight = ops.bind(&slot, TensorRef::new(0, Format::F32, &[COLUMNS, COLUMNS]))?;
        let [y] = ops.linear(&x, [Affine { weight: &weight, bias: None }])?;
        x = ops.activate(y, Activation::Tanh)?;
        drop(weight);
        slots.push_back(slot);
    }
    Ok(x)
}
