//! Attention on tensor cores, against attention in f32.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_backend::{
    AttentionSpec, Backend, BackendError, Ops, Precision, Ragged, Result, Rows, Scored,
};
use grating_cuda::{CudaBackend, CudaOptions, CudaTensor};
use grating_cuda_emulated::{Emulated, Order};

/// Weighted means of numbers between -1 and 1: queries, keys, values and weights have 8 bits each.
const ROUNDED: f32 = 2e-2;

fn backend(precision: Precision) -> CudaBackend<Emulated> {
    let options = CudaOptions::default().with_precision(precision);
    CudaBackend::new(Emulated::new(None, Order::Late), options).unwrap()
}

/// Numbers between -1 and 1, by the row's number: a sequence has the same ones wherever it lies.
fn tensor(
    ops: &CudaBackend<Emulated>,
    rows: &[usize],
    columns: usize,
    seed: u64,
) -> Result<CudaTensor<Emulated>> {
    let number = |row: usize, column: usize| {
        let mixed = (row as u64 * 1009 + column as u64 + 1).wrapping_mul(seed | 1);
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    ops.written(rows.len(), columns, |out| {
        for (out, &row) in out.chunks_exact_mut(columns).zip(rows) {
            out.iter_mut().enumerate().for_each(|(column, x)| *x = number(row, column));
        }
        Ok::<(), BackendError>(())
    })
}

/// Attention of sequences `which` of these lengths.
fn attend(
    ops: &CudaBackend<Emulated>,
    lengths: &[usize],
    which: &[usize],
    (prefix, spec, rows): (usize, &AttentionSpec, Rows),
) -> Vec<f32> {
    let first = |index: usize| 100 * lengths[..index].iter().sum::<usize>();
    let all: Vec<usize> =
        which.iter().flat_map(|&i| (0..lengths[i]).map(move |row| first(i) + row)).collect();
    let last: Vec<usize> = which.iter().map(|&i| first(i) + lengths[i] - 1).collect();
    let ragged = Ragged::new(which.iter().map(|&i| lengths[i]), prefix, Scored::Last);
    let (q, kv) = (spec.heads * spec.width, spec.kv_heads * spec.width);
    let asked = if rows == Rows::All { &all } else { &last };
    let q = tensor(ops, asked, q, 3).unwrap();
    let (k, v) = (tensor(ops, &all, kv, 5).unwrap(), tensor(ops, &all, kv, 7).unwrap());
    let shared: Vec<usize> = (0..prefix).map(|row| 77_777 + row).collect();
    let shared = (tensor(ops, &shared, kv, 5).unwrap(), tensor(ops, &shared, kv, 7).unwrap());
    let prefix = (prefix > 0).then_some((&shared.0, &shared.1));
    let layout = ops.layout(&ragged).unwrap();
    let out = ops.attention(q, (&k, &v), prefix, spec, &layout, rows).unwrap();
    ops.wait(ops.read(&out).unwrap()).unwrap()
}

#[test]
fn tensor_cores_attend_as_f32_does_and_alone_as_in_company() {
    let (full, fast) = (backend(Precision::Full), backend(Precision::Fast));
    let lengths = [70, 1, 130, 64];
    for width in [16, 36, 64, 128] {
        for (prefix, causal, window, softcap) in [
            (0, true, None, None),
            (21, true, None, Some(2.0)),
            (65, true, Some(30), None),
            (0, false, None, None),
            (0, false, Some(9), Some(5.0)),
        ] {
            let mut spec = AttentionSpec::new(4, 2, width, causal);
            (spec.window, spec.softcap) = (window, softcap);
            for rows in [Rows::All, Rows::Scored] {
                let how = (prefix, &spec, rows);
                let together = attend(&fast, &lengths, &[0, 1, 2, 3], how);
                let exact = attend(&full, &lengths, &[0, 1, 2, 3], how);
                let mut moved = 0;
                for (found, exact) in together.iter().zip(&exact) {
                    assert!((found - exact).abs() <= ROUNDED, "{found} for {exact}: {spec:?}");
                    moved += usize::from(found != exact);
                }
                assert!(moved > 0, "nothing was rounded: {spec:?}");
                let alone: Vec<f32> =
                    (0..4).flat_map(|i| attend(&fast, &lengths, &[i], how)).collect();
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&together), bits(&alone), "{spec:?}");
            }
        }
    }
}
