//! Linear layers of every instruction set against sums in f64, on awkward sizes.

use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};
use grating_quant::{dequantize, quantize_q4_0, quantize_q8_0};
use half::{bf16, f16};
use proptest::prelude::*;

/// Elements that share a scale in int8.
const GROUP: usize = 128;

/// A sequence without structure, in -1..1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// A layer and its input.
struct Case {
    rows: usize,
    outputs: usize,
    inputs: usize,
    format: Format,
    x: Vec<f32>,
    bias: Vec<f32>,
    /// The weights, after one byte that spoils their alignment.
    stored: Vec<u8>,
    /// The weights as numbers.
    w: Vec<f32>,
}

impl Case {
    fn new(rows: usize, outputs: usize, inputs: usize, format: Format, seed: u64) -> Self {
        // Rows are whole blocks.
        let inputs = inputs.next_multiple_of(format.block_elements());
        let mut noise = Noise(seed);
        let mut stored = vec![0xff];
        for _ in 0..outputs {
            store(format, &noise.take(inputs), &mut stored);
        }
        let mut w = Vec::new();
        dequantize(format, &stored[1..], &mut w).expect("whole blocks");
        let (x, bias) = (noise.take(rows * inputs), noise.take(outputs));
        Self { rows, outputs, inputs, format, x, bias, stored, w }
    }

    /// With rows of these numbers, in a format without blocks.
    fn of(format: Format, inputs: usize, x: &[f32], weights: &[f32], bias: Vec<f32>) -> Self {
        let mut stored = vec![0xff];
        store(format, weights, &mut stored);
        let mut w = Vec::new();
        dequantize(format, &stored[1..], &mut w).expect("whole rows");
        let (rows, outputs) = (x.len() / inputs, w.len() / inputs);
        Self { rows, outputs, inputs, format, x: x.to_vec(), bias, stored, w }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.outputs, self.inputs, &self.stored[1..])
            .expect("as many bytes as stored")
    }

    /// The layer by `kernels` on some rows of the input, and the distance of the rows of the output.
    fn run(&self, kernels: &Kernels, compute: Compute, rows: &[usize], gap: usize) -> Vec<f32> {
        let x: Vec<f32> =
            rows.iter().flat_map(|&r| &self.x[r * self.inputs..][..self.inputs]).copied().collect();
        let mut prepared = Activations::default();
        kernels.prepare(&x, rows.len(), self.inputs, compute, &mut prepared);
        let stride = self.outputs + gap;
        let mut out = vec![f32::NAN; rows.len() * stride];
        kernels.linear(&prepared, &self.matrix(), Some(&self.bias), &mut out, stride);
        for row in out.chunks(stride) {
            assert!(row[self.outputs..].iter().all(|y| y.is_nan()), "wrote between the rows");
        }
        out.chunks(stride).flat_map(|row| &row[..self.outputs]).copied().collect()
    }

    /// The input and the weights as products in `compute` see them.
    fn operands(&self, isa: Isa, compute: Compute) -> (Vec<f64>, Vec<f64>) {
        let round = |numbers: &[f32], group: &dyn Fn(&[f32]) -> Vec<f32>| -> Vec<f64> {
            let rounded: Vec<f32> = match compute {
                Compute::Int8 => numbers
                    .chunks(self.inputs)
                    .flat_map(|row| row.chunks(GROUP))
                    .flat_map(group)
                    .collect(),
                Compute::Bf16 => numbers.iter().map(|&v| bf16::from_f32(v).to_f32()).collect(),
                Compute::F32 | Compute::Digits => numbers.to_vec(),
            };
            rounded.into_iter().map(f64::from).collect()
        };
        (round(&self.x, &round_activations), round(&self.w, &|w| round_weights(w, short(isa))))
    }

    /// Every element within the error bound of a chain of f32 additions.
    fn check(&self, kernels: &Kernels, compute: Compute) {
        let all: Vec<usize> = (0..self.rows).collect();
        let out = self.run(kernels, compute, &all, 3);
        let (x, w) = self.operands(kernels.isa(), compute);
        // A few roundings more than additions: scales, and products with them.
        let rounding = f64::from(f32::EPSILON) / 2.0 * (self.inputs + 8) as f64;
        for (i, &y) in out.iter().enumerate() {
            let (row, output) = (i / self.outputs, i % self.outputs);
            let (x, w) = (&x[row * self.inputs..], &w[output * self.inputs..][..self.inputs]);
            let bias = f64::from(self.bias[output]);
            let sum =
                |(sum, magnitude), (x, w): (&f64, &f64)| (sum + x * w, magnitude + (x * w).abs());
            let (expected, magnitude) = x.iter().zip(w).fold((bias, bias.abs()), sum);
            let error = (f64::from(y) - expected).abs();
            assert!(
                error <= rounding * magnitude + 1e-30,
                "{} {compute:?} {:?} [{} x {} x {}] at {row}, {output}: {y} for {expected}",
                kernels.isa(),
                self.format,
                self.rows,
                self.outputs,
                self.inputs,
            );
        }
    }
}

/// Appends a row as `format` stores it.
fn store(format: Format, row: &[f32], stored: &mut Vec<u8>) {
    match format {
        Format::F32 => stored.extend(row.iter().flat_map(|w| w.to_le_bytes())),
        Format::F16 => stored.extend(row.iter().flat_map(|&w| f16::from_f32(w).to_le_bytes())),
        Format::Bf16 => stored.extend(row.iter().flat_map(|&w| bf16::from_f32(w).to_le_bytes())),
        Format::Q8_0 => quantize_q8_0(row, stored).expect("whole blocks"),
        Format::Q4_0 => quantize_q4_0(row, stored).expect("whole blocks"),
        Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q4K | Format::Q5K | Format::Q6K => {
            // Any bytes are a block, given scales that are numbers.
            for numbers in row.chunks_exact(format.block_elements()) {
                let mut noise = Noise(u64::from(numbers[0].to_bits()));
                let bytes = noise.take(format.block_bytes());
                let mut block: Vec<u8> = bytes.iter().map(|w| (w * 127.0) as i8 as u8).collect();
                let scales: &[usize] = match format {
                    Format::Q5_0 => &[0],
                    Format::Q6K => &[208],
                    _ => &[0, 2],
                };
                for (&at, scale) in scales.iter().zip(numbers) {
                    let scale = f16::from_f32(scale / 64.0);
                    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
                stored.extend(block);
            }
        }
    }
}

/// Whether an instruction set adds products of bytes up in 16 bits.
fn short(isa: Isa) -> bool {
    matches!(isa, Isa::Avx2 | Isa::Avx512)
}

/// A group as multiples of a 127th of the largest magnitude, or of the largest sum of two neighbours'.
fn round_weights(group: &[f32], short: bool) -> Vec<f32> {
    let largest = match short {
        false => group.iter().fold(0.0f32, |m, v| m.max(v.abs())),
        true => group.chunks(2).fold(0.0f32, |m, two| m.max(two.iter().map(|v| v.abs()).sum())),
    };
    let (scale, inverse) = (largest / 127.0, 127.0 / largest.max(1e-30));
    group.iter().map(|v| (v * inverse).round_ties_even() * scale).collect()
}

/// A group as 256 steps from the least, or 0, to the largest, or 0.
fn round_activations(group: &[f32]) -> Vec<f32> {
    let (low, high) = group.iter().fold((0.0f32, 0.0f32), |(l, h), &v| (l.min(v), h.max(v)));
    let (scale, inverse) = ((high - low) / 255.0, 255.0 / (high - low).max(1e-30));
    let zero = (-low * inverse).round_ties_even();
    let step = |v: &f32| ((v * inverse).round_ties_even() + zero).min(255.0) - zero;
    group.iter().map(|v| step(v) * scale).collect()
}

/// Every instruction set of this machine with every type of products that it has.
fn kernels() -> Vec<(Kernels, Compute)> {
    let of = |isa| {
        let kernels = Kernels::new(isa);
        let own = move |compute| kernels.compute_for(Format::F32, compute) == compute;
        let some =
            [Compute::Digits, Compute::Bf16].into_iter().filter(move |&compute| own(compute));
        let all = [Compute::F32, Compute::Int8].into_iter().chain(some);
        all.map(move |compute| (kernels, compute))
    };
    Isa::supported().into_iter().flat_map(of).collect()
}

#[test]
fn adding_starts_from_what_is_there() {
    for (kernels, compute) in kernels() {
        let case = Case::new(20, 70, 1100, Format::Bf16, 5);
        let mut prepared = Activations::default();
        kernels.prepare(&case.x, 20, 1100, compute, &mut prepared);
        let mut once = vec![0.0; 20 * 70];
        kernels.linear(&prepared, &case.matrix(), Some(&case.bias), &mut once, 70);
        let mut added: Vec<f32> = (0..20 * 70).map(|i| (i % 7) as f32).collect();
        kernels.linear_add(&prepared, &case.matrix(), Some(&case.bias), &mut added, 70);
        for (i, (added, once)) in added.iter().zip(&once).enumerate() {
            assert!((added - once - (i % 7) as f32).abs() < 1e-4, "{} {compute:?}", kernels.isa());
        }
        kernels.linear(&prepared, &case.matrix(), Some(&case.bias), &mut added, 70);
        assert_eq!(added, once, "linear must not look at what is there");
    }
}

#[test]
fn edges_of_tiles_and_blocks_match_f64() {
    for (kernels, compute) in kernels() {
        for format in Format::ALL {
            for (rows, outputs, inputs) in [
                (1, 1, 1),
                (1, 33, 2),
                (14, 32, 16),
                (15, 31, 33),
                (29, 65, 17),
                (3, 17, 2051),
                (2, 300, 1024),
            ] {
                Case::new(rows, outputs, inputs, format, 7).check(&kernels, compute);
            }
        }
    }
}

/// Fast precision must not be slower than exact: without VNNI, AVX-512 is faster in f32; AMX is as fast in bfloat16.
#[test]
fn products_are_of_bytes_only_where_that_is_faster() {
    for isa in Isa::supported() {
        let expected = match isa {
            Isa::Portable | Isa::Avx512 => Compute::F32,
            Isa::Amx => Compute::Bf16,
            _ => Compute::Int8,
        };
        for format in Format::ALL {
            let kernels = Kernels::new(isa);
            assert_eq!(kernels.compute_for(format, Compute::Int8), expected, "{isa}");
            assert_eq!(kernels.compute_for(format, Compute::F32), Compute::F32, "{isa}");
            let of_digits = if isa == Isa::Amx { Compute::Digits } else { Compute::F32 };
            assert_eq!(kernels.compute_for(format, Compute::Digits), of_digits, "{isa}");
        }
    }
}

#[test]
fn no_inputs_give_the_bias() {
    for (kernels, compute) in kernels() {
        let case = Case::new(3, 40, 0, Format::F32, 1);
        assert_eq!(case.run(&kernels, compute, &[0, 1], 0), [&case.bias[..], &case.bias].concat());
    }
}

/// Sums of products of digits fit where they are added up, and what is cut by the largest of its row keeps what f32 keeps: rows
/// that are all as large as can be, of numbers large and small, with one far beyond the others.
#[test]
fn f32_at_the_extremes_of_inputs_and_weights_is_as_near_as_sums_are() {
    const INPUTS: usize = 1100;
    let rows: [fn(usize) -> f32; 10] = [
        |_| 1.0,
        |_| -1.0,
        |k| [1.0, -1.0][k % 2],
        // The largest second and third digits.
        |k| if k % 512 == 0 { 1.0 } else { 0.503_937_3 },
        |k| if k % 512 == 0 { 1.0 } else { -0.496_063_6 },
        |k| if k == 700 { 300.0 } else { (k % 7) as f32 - 3.0 },
        |k| 1e-7 * (k % 11) as f32,
        |k| 3e30 * (k as f32).sin(),
        |k| 1e-20 * (k as f32).cos(),
        |_| 0.0,
    ];
    let weights: Vec<f32> =
        rows[..7].iter().flat_map(|of| (0..INPUTS).map(move |k| of(k + 3))).collect();
    let x: Vec<f32> = rows.iter().flat_map(|of| (0..INPUTS).map(of)).collect();
    for format in [Format::F32, Format::F16, Format::Bf16] {
        let case = Case::of(format, INPUTS, &x, &weights, vec![0.0; weights.len() / INPUTS]);
        for isa in Isa::supported() {
            case.check(&Kernels::new(isa), Compute::F32);
            case.check(&Kernels::new(isa), Kernels::new(isa).compute_for(format, Compute::Digits));
        }
    }
}

/// A few elements far beyond the others, in inputs or in weights, that are multiplied by 0 cost the others nothing.
#[test]
fn f32_with_outliers_is_as_near_as_sums_are() {
    const INPUTS: usize = 1800;
    let (rows, outputs) = (70, 75);
    for format in [Format::F32, Format::F16, Format::Bf16] {
        let mut noise = Noise(5);
        let (mut x, mut weights) = (noise.take(rows * INPUTS), noise.take(outputs * INPUTS));
        for (of, numbers) in [&mut x, &mut weights].into_iter().enumerate() {
            for (i, row) in numbers.chunks_mut(INPUTS).enumerate() {
                // The other one's outliers are in the columns beside it.
                for column in [200, 202, 204, 206, 208, 210, 212, 214, 700, 1790] {
                    row[column + 1 - of] = 0.0;
                    row[column + of] = if i % 3 == 0 { 6e4 } else { 1e-3 };
                    if of == 1 {
                        // Some outliers meet.
                        row[1000] = if i % 2 == 0 { -5e4 } else { 1.0 };
                    }
                }
            }
        }
        let case = Case::of(format, INPUTS, &x, &weights, noise.take(outputs));
        for isa in Isa::supported() {
            case.check(&Kernels::new(isa), Compute::F32);
            case.check(&Kernels::new(isa), Kernels::new(isa).compute_for(format, Compute::Digits));
        }
    }
}

#[test]
fn f32_of_numbers_that_are_none_is_none() {
    for format in [Format::F32, Format::F16, Format::Bf16] {
        let mut case = Case::new(4, 40, 600, format, 3);
        for (row, none) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
            case.x[row * 600 + 70] = none;
        }
        for isa in Isa::supported() {
            let kernels = Kernels::new(isa);
            let out =
                case.run(&kernels, kernels.compute_for(format, Compute::Digits), &[0, 1, 2, 3], 0);
            assert!(out[..120].iter().all(|y| !y.is_finite()), "{isa} {format:?}");
            assert!(out[120..].iter().all(|y| y.is_finite()), "{isa} {format:?}");
        }
    }
}

#[test]
fn int8_gives_the_same_bits_with_all_instructions() {
    for format in Format::ALL {
        let case = Case::new(9, 50, 1200, format, 3);
        let all: Vec<usize> = (0..9).collect();
        let bits = |isa| -> Vec<u32> {
            let out = case.run(&Kernels::new(isa), Compute::Int8, &all, 0);
            out.into_iter().map(f32::to_bits).collect()
        };
        let portable = bits(Isa::Portable);
        for isa in Isa::supported() {
            // Other steps, so other bits: 16 bits that would hold more were not meant to.
            assert_eq!(bits(isa) == portable, !short(isa), "{isa} {format:?}");
        }
    }
}

#[test]
fn int8_of_zeros_and_of_numbers_that_are_none() {
    let mut case = Case::new(3, 2, 64, Format::F32, 3);
    case.x[..64].fill(0.0);
    case.x[64] = f32::NAN;
    for isa in Isa::supported() {
        let out = case.run(&Kernels::new(isa), Compute::Int8, &[0, 1, 2], 0);
        assert_eq!(out[..2], case.bias, "{isa}");
        assert!(out[2..4].iter().all(|y| y.is_nan()), "{isa}");
        assert!(out[4..].iter().all(|y| y.is_finite()), "{isa}");
    }
}

/// Sums of products of bytes at their extremes fit where they are added up: with inputs all at byte 255, or all at byte 0
/// with a zero of 255, and weights all at 127 or -127 no instruction's 16 bits may overflow or saturate.
#[test]
fn int8_at_the_extremes_of_inputs_and_weights_is_exact() {
    let rows: [fn(usize) -> f32; 8] = [
        |_| 1.0,
        |_| -1.0,
        |k| [1.0, -1.0][k % 2],
        |k| [1.0, 0.0][k % 2],
        |k| [-1.0, 0.0][k % 2],
        |k| [1.0, 1.0, -1.0, -1.0][k % 4],
        |k| [3e30, -1e30][k % 2],
        |k| [1e-20, -3e-20][k % 2],
    ];
    let weights: [fn(usize) -> f32; 7] = [
        // Neighbours whose steps are halves, all rounded up.
        |k| [0.5, 126.5, 63.5, 63.5][k % 4],
        |_| 1.0,
        |_| -1.0,
        |k| [1.0, -1.0][k % 2],
        |k| [1.0, 1.0, -1.0, -1.0][k % 4],
        |k| [1.0, 0.0][k % 2],
        |k| [1.0, 1.0, 0.0, 0.0][k % 4],
    ];
    // Whole groups, which are cut in registers, and others.
    for inputs in [1024, 1100] {
        let all = |of: &[fn(usize) -> f32]| -> Vec<f32> {
            of.iter().flat_map(|of| (0..inputs).map(of)).collect()
        };
        let (x, w) = (all(&rows), all(&weights));
        let case = Case::of(Format::F32, inputs, &x, &w, vec![0.0; weights.len()]);
        for isa in Isa::supported() {
            case.check(&Kernels::new(isa), Compute::Int8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn awkward_sizes_match_f64(
        rows in 1usize..70, outputs in 1usize..100, inputs in 1usize..300,
        format in prop::sample::select(&Format::ALL[..]), seed: u64,
    ) {
        for (kernels, compute) in kernels() {
            Case::new(rows, outputs, inputs, format, seed).check(&kernels, compute);
        }
    }

    /// The same bits whatever rows a row is computed with, on however many threads, with
    /// whatever stride.
    #[test]
    fn a_row_does_not_depend_on_the_call(
        picked in prop::collection::vec(0usize..40, 1..40),
        outputs in 1usize..200, inputs in 1usize..1500, threads in 1usize..6, gap in 0usize..20,
        format in prop::sample::select(&Format::ALL[..]), seed: u64,
    ) {
        let mut case = Case::new(40, outputs, inputs, format, seed);
        // Some rows have outliers.
        case.x.iter_mut().step_by(3 * inputs + 1).for_each(|x| *x *= 1e5);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (kernels, compute) in kernels() {
            let all: Vec<usize> = (0..40).collect();
            let whole = case.run(&kernels, compute, &all, 0);
            let part = pool.install(|| case.run(&kernels, compute, &picked, gap));
            for (part, &row) in part.chunks(outputs).zip(&picked) {
                let whole = &whole[row * outputs..][..outputs];
                prop_assert!(
                    part.iter().zip(whole).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{} {compute:?} row {row}", kernels.isa()
                );
            }
        }
    }
}
