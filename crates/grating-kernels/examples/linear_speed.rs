//! Prints how fast linear layers are on the shapes of real models, beside the machine's
//! instruction peak measured in the same run.
//!
//! `cargo run --release -p grating-kernels --example linear_speed -- [ISA] [--brief]`

use std::time::Instant;

use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};

/// Inputs, outputs and where they occur.
const SHAPES: [(usize, usize, &str); 9] = [
    (1024, 3072, "0.6B gate, up"),
    (3072, 1024, "0.6B down"),
    (1024, 2048, "0.6B q"),
    (1024, 1024, "0.6B k, v; v2-m3 q, k, v, o"),
    (2048, 1024, "0.6B o"),
    (1024, 4096, "v2-m3 up"),
    (4096, 1024, "v2-m3 down"),
    (384, 1536, "MiniLM up"),
    (1536, 384, "MiniLM down"),
];
const ROWS: [usize; 4] = [64, 256, 1024, 4096];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let brief = arguments.iter().any(|a| a == "--brief");
    let name = arguments.iter().find(|a| !a.starts_with("--"));
    let kernels = Kernels::new(name.map_or(Ok(Isa::detect()), |name| Isa::from_name(name))?);
    println!(
        "{}, {} threads, Gop/s (activations prepared beforehand)",
        kernels.isa(),
        rayon::current_num_threads()
    );
    let shapes = if brief { &SHAPES[..2] } else { &SHAPES[..] };
    for (format, wanted) in [
        (Format::F32, Compute::F32),
        (Format::Bf16, Compute::F32),
        (Format::F16, Compute::F32),
        (Format::Bf16, Compute::Bf16),
        (Format::F16, Compute::Bf16),
        (Format::Q8_0, Compute::Int8),
        (Format::Q4_0, Compute::Int8),
        (Format::Q4K, Compute::Int8),
        (Format::Bf16, Compute::Int8),
        (Format::Q8_0, Compute::F32),
    ] {
        let compute = kernels.compute_for(format, wanted);
        if compute != wanted
            || brief && matches!(format, Format::F16 | Format::Q4_0 | Format::Q4K)
            || format.row_bytes(shapes[0].0).is_none()
        {
            continue;
        }
        for &(inputs, outputs, place) in shapes {
            print!("{format:?} weights, {compute:?} products, {inputs:4} -> {outputs:4}:");
            for rows in ROWS {
                let seconds = time(&kernels, format, compute, rows, inputs, outputs);
                let operations = 2.0 * (rows * inputs * outputs) as f64;
                print!(" {:6.0}", operations / seconds / 1e9);
            }
            println!("  {place}");
        }
    }
    Ok(())
}

/// Seconds of the fastest call: other load on the machine only adds.
fn time(
    kernels: &Kernels,
    format: Format,
    compute: Compute,
    rows: usize,
    inputs: usize,
    outputs: usize,
) -> f64 {
    let stored = vec![0x3c; format.row_bytes(inputs).unwrap_or(0) * outputs];
    let Ok(w) = Matrix::new(format, outputs, inputs, &stored) else { return f64::NAN };
    let x: Vec<f32> = (0..rows * inputs).map(|i| (i % 17) as f32 - 8.0).collect();
    let mut out = vec![0.0; rows * outputs];
    let mut prepared = Activations::default();
    kernels.prepare(&x, rows, inputs, compute, &mut prepared);
    let operations = 2.0 * (rows * inputs * outputs) as f64;
    let runs = ((2e10 / operations) as usize).clamp(3, 101);
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            kernels.linear(&prepared, &w, None, &mut out, outputs);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}
