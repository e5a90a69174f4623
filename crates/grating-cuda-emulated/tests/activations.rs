//! What lies between operations as bf16: where products would round it anyway, no bit of what comes of it differs.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::sync::Arc;

use grating_backend::{
    Activation, Affine, AttentionSpec, Backend, BackendError, Format, Ops, Precision, Ragged, Rows,
    Scored, TensorRef, Then,
};
use grating_conformance::operations::HostTensors;
use grating_cuda::{CudaBackend, CudaOptions, CudaSlot, CudaTensor, CudaWeight};
use grating_cuda_emulated::{Emulated, Order};

type Ops16 = CudaBackend<Emulated>;

const ROWS: usize = 70;
const HIDDEN: usize = 64;
const WIDE: usize = 160;

fn backend(precision: Precision) -> Ops16 {
    let options = CudaOptions::default().with_precision(precision);
    CudaBackend::new(Emulated::new(None, Order::Random(6)), options).unwrap()
}

/// Between -1 and 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let number = |i: usize| (i as u64 + 1).wrapping_mul(seed * 2 + 1) ^ (seed << 40);
    let mixed = |i| number(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..count).map(|i| mixed(i) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn tensor(ops: &Ops16, seed: u64, rows: usize, columns: usize) -> CudaTensor<Emulated> {
    let tensor = ops.written(rows, columns, |out| {
        out.copy_from_slice(&numbers(seed, rows * columns));
        Ok::<(), BackendError>(())
    });
    tensor.unwrap()
}

/// Matrices of bf16: two to a wider and one back, one square; then a vector of f32.
fn slot(ops: &Ops16) -> CudaSlot<Emulated> {
    let matrix = |seed, rows, columns| -> Vec<u8> {
        let numbers = numbers(seed, rows * columns);
        numbers.iter().flat_map(|x| x.to_le_bytes()[2..].to_vec()).collect()
    };
    let vector = numbers(15, HIDDEN).iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors = vec![
        matrix(11, WIDE, HIDDEN),
        matrix(12, WIDE, HIDDEN),
        matrix(13, HIDDEN, WIDE),
        matrix(14, HIDDEN, HIDDEN),
        vector,
    ];
    ops.admit(Arc::new(HostTensors(tensors)), None).unwrap()
}

const SHAPES: [&[usize]; 5] =
    [&[WIDE, HIDDEN], &[WIDE, HIDDEN], &[HIDDEN, WIDE], &[HIDDEN, HIDDEN], &[HIDDEN]];

fn bind<'s>(
    ops: &Ops16,
    slot: &'s CudaSlot<Emulated>,
    index: usize,
    then: Then,
) -> CudaWeight<'s, Emulated> {
    let format = if index == 4 { Format::F32 } else { Format::Bf16 };
    ops.bind(slot, TensorRef::new(index, format, SHAPES[index]).with_then(then)).unwrap()
}

fn bits(ops: &Ops16, x: &CudaTensor<Emulated>) -> Vec<u32> {
    ops.wait(ops.read(x).unwrap()).unwrap().iter().map(|x| x.to_bits()).collect()
}

/// What `work` makes of a hidden state that is norms, attention, or a gate on its way to a matrix, which it is told.
fn check(precision: Precision, work: impl Fn(&Ops16, &CudaSlot<Emulated>, Then) -> Vec<u32>) {
    let ops = backend(precision);
    let slot = slot(&ops);
    let kept = work(&ops, &slot, Then::Kept);
    assert!(kept.iter().any(|&bits| f32::from_bits(bits).abs() > 1e-3));
    for then in [Then::Multiplied(Some(Format::Bf16)), Then::Multiplied(None)] {
        assert_eq!(work(&ops, &slot, then), kept, "{precision} {then:?}");
    }
}

fn through(ops: &Ops16, x: &CudaTensor<Emulated>, matrix: &CudaWeight<'_, Emulated>) -> Vec<u32> {
    let [y] = ops.linear(x, [Affine { weight: matrix, bias: None }]).unwrap();
    let sum = ops.copied(&y).unwrap();
    let sum = ops.linear_add(sum, x, Affine { weight: matrix, bias: None }).unwrap();
    [bits(ops, &y), bits(ops, &sum)].concat()
}

#[test]
fn norms_that_are_multiplied() {
    for precision in [Precision::Exact, Precision::Fast] {
        check(precision, |ops, slot, then| {
            let (weight, matrix) = (bind(ops, slot, 4, then), bind(ops, slot, 0, Then::Kept));
            let x = tensor(ops, 1, ROWS, HIDDEN);
            let rms = ops.rms_norm(&x, &weight, 1e-5).unwrap();
            let layer = ops.layer_norm_of(&x, &weight, Some(&weight), 1e-5).unwrap();
            [through(ops, &rms, &matrix), through(ops, &layer, &matrix)].concat()
        });
    }
}

#[test]
fn gates_and_activations_that_are_multiplied() {
    for precision in [Precision::Exact, Precision::Fast] {
        check(precision, |ops, slot, then| {
            let (gate, up) = (bind(ops, slot, 0, then), bind(ops, slot, 1, then));
            let down = bind(ops, slot, 2, Then::Kept);
            let x = tensor(ops, 1, ROWS, HIDDEN);
            let map = |weight| Affine { weight, bias: None };
            let gated = ops.linear_gated(&x, [map(&gate), map(&up)], Activation::Silu).unwrap();
            let active = ops.linear_activated(&x, map(&up), Activation::GeluErf).unwrap();
            [through(ops, &gated, &down), through(ops, &active, &down)].concat()
        });
    }
}

#[test]
fn a_gate_in_one_step_is_that_of_several() {
    for precision in Precision::ALL {
        let ops = backend(precision);
        let slot = slot(&ops);
        let (gate, up) = (bind(&ops, &slot, 0, Then::Kept), bind(&ops, &slot, 1, Then::Kept));
        for rows in [1, 64, 700] {
            let x = tensor(&ops, 2, rows, HIDDEN);
            let map = |weight| Affine { weight, bias: None };
            let once = ops.linear_gated(&x, [map(&gate), map(&up)], Activation::GeluTanh).unwrap();
            let [gate, up] = ops.linear(&x, [map(&gate), map(&up)]).unwrap();
            let several = ops.gate(gate, &up, Activation::GeluTanh).unwrap();
            assert_eq!(bits(&ops, &once), bits(&ops, &several), "{precision} {rows}");
        }
    }
}

#[test]
fn attention_that_is_multiplied() {
    for precision in [Precision::Exact, Precision::Fast] {
        check(precision, |ops, slot, then| {
            let matrix = bind(ops, slot, 3, Then::Kept);
            let rows = Ragged::new([33, 1, 36], 0, Scored::Last);
            let layout = ops.layout(&rows).unwrap();
            let [q, k, v] = [4, 5, 6].map(|seed| tensor(ops, seed, rows.tokens(), HIDDEN));
            let spec = AttentionSpec::new(4, 4, HIDDEN / 4, true).with_then(then);
            let out = ops.attention(q, (&k, &v), None, &spec, &layout, Rows::All).unwrap();
            through(ops, &out, &matrix)
        });
    }
}

#[test]
fn what_is_not_rounded_everywhere_stays_as_it_is() {
    let stored = |precision, then| {
        let ops = backend(precision);
        let slot = slot(&ops);
        let weight = bind(&ops, &slot, 4, then);
        let x = ops.rms_norm(&tensor(&ops, 1, ROWS, HIDDEN), &weight, 1e-5).unwrap();
        // The lower half of the bits of a bf16 is empty.
        bits(&ops, &x).iter().all(|bits| bits & 0xffff == 0)
    };
    let (bf16, f16) = (Then::Multiplied(Some(Format::Bf16)), Then::Multiplied(Some(Format::F16)));
    let mixed = Then::Multiplied(None);
    for then in [Then::Kept, Then::Attended, bf16, f16, mixed] {
        assert!(!stored(Precision::Full, then), "{then:?}");
        assert_eq!(stored(Precision::Exact, then), then == bf16, "{then:?}");
        assert_eq!(stored(Precision::Fast, then), then != Then::Kept, "{then:?}");
    }
}
