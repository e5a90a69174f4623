//! Linear layers on shapes of real models, in exact and fast precision. The table of all shapes, formats and instruction
//! sets comes from the program `linear_speed`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};

/// Inputs, outputs and where they occur.
const SHAPES: [(usize, usize, &str); 2] =
    [(1024, 3072, "qwen3-0.6b up"), (384, 1536, "minilm-l6 up")];
const KINDS: [(Format, Compute, &str); 3] = [
    (Format::Bf16, Compute::Bf16, "bf16 exact"),
    (Format::Q8_0, Compute::Int8, "q8_0 fast"),
    (Format::Q4_0, Compute::Int8, "q4_0 fast"),
];
const ROWS: [usize; 2] = [64, 1024];

fn linear(c: &mut Criterion) {
    let kernels = Kernels::new(Isa::detect());
    for (inputs, outputs, place) in SHAPES {
        let mut group = c.benchmark_group(format!("linear, {place}"));
        group.sample_size(20);
        for (format, compute, name) in KINDS {
            let bytes = format.row_bytes(inputs).expect("rows are whole blocks") * outputs;
            let stored = vec![0x3c; bytes];
            let w = Matrix::new(format, outputs, inputs, &stored).expect("the bytes fit the shape");
            let compute = kernels.compute_for(format, compute);
            for rows in ROWS {
                let x: Vec<f32> = (0..rows * inputs).map(|i| (i % 17) as f32 - 8.0).collect();
                let mut out = vec![0.0; rows * outputs];
                let mut prepared = Activations::default();
                group.throughput(Throughput::Elements((rows * inputs * outputs) as u64));
                group.bench_function(BenchmarkId::new(name, rows), |b| {
                    b.iter(|| {
                        kernels.prepare(&x, rows, inputs, compute, &mut prepared);
                        kernels.linear(&prepared, &w, None, &mut out, outputs);
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, linear);
criterion_main!(benches);
