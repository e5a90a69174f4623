//! Linear layers on weights of every format, and what they must not depend on.
#![cfg(emulated)]
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::sync::Arc;

use grating_backend::{Affine, Backend, BackendError, Format, Ops, Precision, TensorRef};
use grating_conformance::operations::HostTensors;
use grating_cuda::{CudaBackend, CudaOptions};
use grating_cuda_emulated::{Emulated, Order};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        (self.next() % (1 << 24)) as f32 / (1 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    /// A matrix of any numbers of a size around 1, as it is stored.
    fn matrix(&mut self, format: Format, rows: usize, columns: usize) -> Vec<u8> {
        let bytes = rows * format.row_bytes(columns).unwrap();
        let mut stored: Vec<u8> = (0..bytes).map(|_| self.next() as u8).collect();
        // The upper byte of halves: between 2^-4 and 2^-3.
        let scales: &[usize] = match format {
            Format::F32 => {
                return self.numbers(rows * columns).iter().flat_map(|x| x.to_le_bytes()).collect();
            }
            Format::Bf16 => {
                let numbers = self.numbers(rows * columns);
                return numbers.iter().flat_map(|x| x.to_le_bytes()[2..].to_vec()).collect();
            }
            Format::F16 => {
                // A sign, and between 2^-3 and 1.
                stored
                    .chunks_exact_mut(2)
                    .for_each(|x| x[1] = (x[1] & 0x80) | (0x30 + (x[1] & 0x7f) % 12));
                return stored;
            }
            Format::Q6K => &[208],
            Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
            Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => &[0],
        };
        for block in stored.chunks_exact_mut(format.block_bytes()) {
            scales.iter().for_each(|&at| block[at + 1] = 0x2c);
            // Its own scales are of eight signed bits.
            if format == Format::Q6K {
                block[192..208].iter_mut().for_each(|scale| *scale &= 0x07);
            }
        }
        stored
    }
}

fn backend(precision: Precision) -> CudaBackend<Emulated> {
    let options = CudaOptions::default().with_precision(precision);
    CudaBackend::new(Emulated::new(None, Order::Late), options).unwrap()
}

/// To bf16, to nearest even.
fn rounded(x: f32) -> f64 {
    let bits = x.to_bits();
    f64::from(f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000))
}

fn map(
    ops: &CudaBackend<Emulated>,
    (x, rows, columns): (&[f32], usize, usize),
    (format, stored, outs): (Format, &[u8], usize),
) -> Vec<f32> {
    let slot = ops.admit(Arc::new(HostTensors(vec![stored.to_vec()])), None).unwrap();
    let weight = ops.bind(&slot, TensorRef::new(0, format, &[outs, columns])).unwrap();
    let x = ops.written(rows, columns, |out| {
        out.copy_from_slice(x);
        Ok::<(), BackendError>(())
    });
    let [out] = ops.linear(&x.unwrap(), [Affine { weight: &weight, bias: None }]).unwrap();
    ops.wait(ops.read(&out).unwrap()).unwrap()
}

#[test]
fn weights_of_every_format_are_decoded_on_the_way() {
    let (rows, columns, outs) = (5, 512, 67);
    for format in Format::ALL {
        let mut random = Random(format as u64 * 977 + 12345);
        let stored = random.matrix(format, outs, columns);
        let x = random.numbers(rows * columns);
        let mut weights = vec![0.0; outs * columns];
        grating_quant::dequantize_into(format, &stored, &mut weights).unwrap();
        for precision in Precision::ALL {
            let rounds = match precision {
                Precision::Full => false,
                Precision::Exact => format == Format::Bf16,
                Precision::Fast => true,
            };
            let as_taken = |x: f32| if rounds { rounded(x) } else { f64::from(x) };
            let found = map(&backend(precision), (&x, rows, columns), (format, &stored, outs));
            let mut widest = 0.0_f64;
            for (at, found) in found.iter().enumerate() {
                let (row, out) = (at / outs, at % outs);
                let (x, w) = (&x[row * columns..][..columns], &weights[out * columns..][..columns]);
                let products = x.iter().zip(w).map(|(x, w)| as_taken(*x) * as_taken(*w));
                let (sum, size) =
                    products.fold((0.0, 0.0), |(sum, size), p: f64| (sum + p, size + p.abs()));
                let error = (f64::from(*found) - sum).abs();
                // Sums of 512 in f32, in whatever order.
                assert!(error <= 1e-5 * size, "{format:?} {precision}: {found} for {sum}");
                widest = widest.max(sum.abs());
            }
            assert!(widest > 1.0, "{format:?}: nothing to tell apart");
        }
    }
}

#[test]
fn a_row_is_the_same_to_the_bit_whoever_shares_its_launch() {
    // Enough for the wide tiles, and for none.
    let (rows, columns, outs) = (1300, 40, 1100);
    let mut random = Random(99);
    let stored = random.matrix(Format::Bf16, outs, columns);
    let x = random.numbers(rows * columns);
    for precision in [Precision::Full, Precision::Exact] {
        let ops = backend(precision);
        let all = map(&ops, (&x, rows, columns), (Format::Bf16, &stored, outs));
        for row in [0, 63, 64, 700, 1299] {
            let alone = map(
                &ops,
                (&x[row * columns..][..columns], 1, columns),
                (Format::Bf16, &stored, outs),
            );
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&all[row * outs..][..outs]), bits(&alone), "{precision} row {row}");
        }
    }
}

#[test]
fn vectors_in_blocks_are_refused() {
    let ops = backend(Precision::Full);
    let slot = ops.admit(Arc::new(HostTensors(vec![vec![0; 34]])), None).unwrap();
    let refused = ops.bind(&slot, TensorRef::new(0, Format::Q8_0, &[32])).map(drop);
    assert_eq!(refused, Err(BackendError::Unsupported { format: Format::Q8_0 }));
}
