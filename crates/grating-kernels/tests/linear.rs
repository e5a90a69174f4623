//! Linear layers of every instruction set against sums in f64, on awkward sizes.

use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};
use half::{bf16, f16};
use proptest::prelude::*;

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

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
        let mut noise = Noise(seed);
        let w = noise.take(outputs * inputs);
        let mut stored = vec![0xff];
        for &w in &w {
            match format {
                Format::F32 => stored.extend(w.to_le_bytes()),
                Format::F16 => stored.extend(f16::from_f32(w).to_le_bytes()),
                Format::Bf16 => stored.extend(bf16::from_f32(w).to_le_bytes()),
            }
        }
        let w = w.into_iter().map(|w| match format {
            Format::F32 => w,
            Format::F16 => f16::from_f32(w).to_f32(),
            Format::Bf16 => bf16::from_f32(w).to_f32(),
        });
        let (w, x, bias) = (w.collect(), noise.take(rows * inputs), noise.take(outputs));
        Self { rows, outputs, inputs, format, x, bias, stored, w }
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

    /// The layer in f64 on operands rounded as `compute` says, and the sum of magnitudes.
    fn reference(&self, compute: Compute, row: usize, output: usize) -> (f64, f64) {
        let round = |v: f32| match compute {
            Compute::F32 => v,
            Compute::Bf16 => bf16::from_f32(v).to_f32(),
        };
        let x = &self.x[row * self.inputs..][..self.inputs];
        let w = &self.w[output * self.inputs..][..self.inputs];
        let bias = f64::from(self.bias[output]);
        x.iter().zip(w).fold((bias, bias.abs()), |(sum, magnitude), (&x, &w)| {
            let product = f64::from(round(x)) * f64::from(round(w));
            (sum + product, magnitude + product.abs())
        })
    }

    /// Every element within the error bound of a chain of f32 additions.
    fn check(&self, kernels: &Kernels, compute: Compute) {
        let all: Vec<usize> = (0..self.rows).collect();
        let out = self.run(kernels, compute, &all, 3);
        let rounding = f64::from(f32::EPSILON) / 2.0 * (self.inputs + 2) as f64;
        for (i, &y) in out.iter().enumerate() {
            let (row, output) = (i / self.outputs, i % self.outputs);
            let (expected, magnitude) = self.reference(compute, row, output);
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

/// Every instruction set of this machine with every type of products that it has.
fn kernels() -> Vec<(Kernels, Compute)> {
    let of = |isa| {
        let kernels = Kernels::new(isa);
        let all = [Compute::F32, Compute::Bf16].into_iter();
        all.filter(move |&c| kernels.compute_for(Format::Bf16, c) == c).map(move |c| (kernels, c))
    };
    Isa::supported().into_iter().flat_map(of).collect()
}

#[test]
fn edges_of_tiles_and_blocks_match_f64() {
    for (kernels, compute) in kernels() {
        for format in FORMATS {
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

#[test]
fn no_inputs_give_the_bias() {
    for (kernels, compute) in kernels() {
        let case = Case::new(3, 40, 0, Format::F32, 1);
        assert_eq!(case.run(&kernels, compute, &[0, 1], 0), [&case.bias[..], &case.bias].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn awkward_sizes_match_f64(
        rows in 1usize..70, outputs in 1usize..100, inputs in 1usize..300, seed: u64,
    ) {
        for (kernels, compute) in kernels() {
            for format in FORMATS {
                Case::new(rows, outputs, inputs, format, seed).check(&kernels, compute);
            }
        }
    }

    /// The same bits whatever rows a row is computed with, on however many threads, with
    /// whatever stride.
    #[test]
    fn a_row_does_not_depend_on_the_call(
        picked in prop::collection::vec(0usize..40, 1..40),
        outputs in 1usize..200, inputs in 1usize..1500, threads in 1usize..6, gap in 0usize..20,
        format in prop::sample::select(&FORMATS[..]), seed: u64,
    ) {
        let case = Case::new(40, outputs, inputs, format, seed);
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
