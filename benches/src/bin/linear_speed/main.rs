//! Prints how fast linear layers are on the shapes of real models, beside the machine's
//! instruction peak measured in the same run. Times are those of the fastest call, preparation of
//! the activations included.
//!
//! `cargo run --release -p grating-benches --bin linear_speed -- [--brief] [ISA [FORMAT [SHAPE]]]`
//! with a format such as Q8_0 and a shape such as 1024x3072.

mod peak;

use std::time::Instant;

use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};
use half::{bf16, f16};

/// Inputs, outputs and where they occur.
const SHAPES: [(usize, usize, &str); 9] = [
    (1024, 3072, "qwen3-0.6b gate, up"),
    (3072, 1024, "qwen3-0.6b down"),
    (1024, 2048, "qwen3-0.6b q"),
    (1024, 1024, "qwen3-0.6b k, v; bge-v2-m3 q, k, v, o"),
    (2048, 1024, "qwen3-0.6b o"),
    (1024, 4096, "bge-v2-m3 up"),
    (4096, 1024, "bge-v2-m3 down"),
    (384, 1536, "MiniLM up"),
    (1536, 384, "MiniLM down"),
];
const ROWS: [usize; 4] = [64, 256, 1024, 4096];

/// Weights and products; only the first ones with `--brief`.
const KINDS: [(Format, Compute); 15] = [
    (Format::Bf16, Compute::F32),
    (Format::Bf16, Compute::Bf16),
    (Format::Q8_0, Compute::Int8),
    (Format::Bf16, Compute::Int8),
    (Format::F32, Compute::Digits),
    (Format::F16, Compute::Digits),
    (Format::Q8_0, Compute::Digits),
    (Format::F32, Compute::F32),
    (Format::F16, Compute::F32),
    (Format::Q8_0, Compute::F32),
    (Format::Q4_0, Compute::Int8),
    (Format::Q4K, Compute::Int8),
    (Format::Q5_0, Compute::Int8),
    (Format::Q5K, Compute::Int8),
    (Format::Q6K, Compute::Int8),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let brief = arguments.iter().any(|a| a == "--brief");
    let mut names = arguments.iter().filter(|a| !a.starts_with("--"));
    let kernels = Kernels::new(Isa::from_name(names.next().map_or("native", |name| name))?);
    let (only, shape) = (names.next(), names.next());
    println!("{}, {} threads; Gop/s", kernels.isa(), rayon::current_num_threads());
    let (kinds, shapes) =
        if brief { (&KINDS[..4], &SHAPES[..2]) } else { (&KINDS[..], &SHAPES[..]) };
    for &(format, compute) in kinds {
        let wanted = only.is_none_or(|name| format!("{format:?}") == *name);
        if !wanted || kernels.compute_for(format, compute) != compute {
            continue;
        }
        let peak = peak::operations_per_second(kernels.isa(), compute, format);
        match peak {
            Some(peak) => println!("\n{compute:?} products, instruction peak {:.0}", peak / 1e9),
            None => println!("\n{compute:?} products"),
        }
        println!("rows, and beside them the part of the peak: {ROWS:?}");
        for &(inputs, outputs, place) in shapes {
            let other = shape.is_some_and(|shape| format!("{inputs}x{outputs}") != *shape);
            if other || inputs % format.block_elements() != 0 {
                continue;
            }
            print!("{format:?} {inputs:4} -> {outputs:4}:");
            for rows in ROWS {
                let seconds = time(&kernels, format, compute, rows, inputs, outputs)?;
                let speed = 2.0 * (rows * inputs * outputs) as f64 / seconds;
                print!(" {:5.0}", speed / 1e9);
                if let Some(peak) = peak {
                    print!(" {:.2}", speed / peak);
                }
            }
            println!("  {place}");
        }
    }
    Ok(())
}

/// Numbers without structure: products of zeros, or of the same number, take less power, and may be faster.
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// A number in -1..1.
    fn number(&mut self) -> f32 {
        self.bits().cast_signed() as f32 / (1u32 << 31) as f32
    }

    /// A row of a matrix. Of blocks any bytes are one, and small ones a scale that is a number.
    fn row(&mut self, format: Format, inputs: usize, bytes: usize) -> Vec<u8> {
        let numbers = 0..inputs;
        match format {
            Format::F32 => numbers.flat_map(|_| self.number().to_le_bytes()).collect(),
            Format::F16 => {
                numbers.flat_map(|_| f16::from_f32(self.number()).to_le_bytes()).collect()
            }
            Format::Bf16 => {
                numbers.flat_map(|_| bf16::from_f32(self.number()).to_le_bytes()).collect()
            }
            _ => (0..bytes).map(|_| self.bits() as u8 & 0x3f).collect(),
        }
    }
}

/// Seconds of the fastest call: other load on the machine only adds.
fn time(
    kernels: &Kernels,
    format: Format,
    compute: Compute,
    rows: usize,
    inputs: usize,
    outputs: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let row_bytes = format.row_bytes(inputs).ok_or("rows are whole blocks")?;
    let mut noise = Noise(1);
    let stored: Vec<u8> = (0..outputs).flat_map(|_| noise.row(format, inputs, row_bytes)).collect();
    let w = Matrix::new(format, outputs, inputs, &stored)?;
    let x: Vec<f32> = (0..rows * inputs).map(|_| noise.number()).collect();
    let mut out = vec![0.0; rows * outputs];
    let mut prepared = Activations::default();
    let operations = 2.0 * (rows * inputs * outputs) as f64;
    let runs = ((2e10 / operations) as usize).clamp(3, 101);
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        kernels.prepare(&x, rows, inputs, compute, &mut prepared);
        kernels.linear(&prepared, &w, None, &mut out, outputs);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}
