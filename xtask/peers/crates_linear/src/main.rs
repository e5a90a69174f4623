//! Prints how fast linear layers 1024 → 3072 of other crates are with 64, 256, 1024 and 4096 rows, in
//! 10⁹ operations a second of the fastest call, on as many threads as `RAYON_NUM_THREADS` says.
//!
//! `cargo run --release --manifest-path xtask/peers/crates_linear/Cargo.toml`

use std::error::Error;
use std::time::Instant;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

const INPUTS: usize = 1024;
const OUTPUTS: usize = 3072;
const ROWS: [usize; 4] = [64, 256, 1024, 4096];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("{INPUTS} -> {OUTPUTS}; Gop/s for rows {ROWS:?}");
    report("candle f32", |rows| candle(DType::F32, rows))?;
    report("candle bf16", |rows| candle(DType::BF16, rows))?;
    report("candle Q8_0", |rows| candle_quantized(GgmlDType::Q8_0, rows))?;
    report("candle Q4_K", |rows| candle_quantized(GgmlDType::Q4K, rows))?;
    report("gemm f32", gemm_f32)?;
    report("rten-gemm f32", rten_f32)?;
    report("rten-gemm u8 x i8, one scale", rten_int8)
}

fn report(name: &str, seconds: impl Fn(usize) -> Result<f64>) -> Result<()> {
    print!("{name}:");
    for rows in ROWS {
        print!(" {:.0}", operations(rows) / seconds(rows)? / 1e9);
    }
    println!();
    Ok(())
}

fn operations(rows: usize) -> f64 {
    2.0 * (rows * INPUTS * OUTPUTS) as f64
}

/// Seconds of the fastest call: other load on the machine only adds.
fn fastest(rows: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let runs = ((1e10 / operations(rows)) as usize).clamp(3, 51);
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        call()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn candle(dtype: DType, rows: usize) -> Result<f64> {
    let random = |rows, columns| {
        Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu)?.to_dtype(dtype)
    };
    let (x, w) = (random(rows, INPUTS)?, random(OUTPUTS, INPUTS)?);
    fastest(rows, || Ok(x.matmul(&w.t()?).map(drop)?))
}

fn candle_quantized(dtype: GgmlDType, rows: usize) -> Result<f64> {
    let x = Tensor::randn(0f32, 1.0, (rows, INPUTS), &Device::Cpu)?;
    let w = Tensor::randn(0f32, 1.0, (OUTPUTS, INPUTS), &Device::Cpu)?;
    let w = QMatMul::from_qtensor(QTensor::quantize(&w, dtype)?)?;
    fastest(rows, || Ok(w.forward(&x).map(drop)?))
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect()
}

fn gemm_f32(rows: usize) -> Result<f64> {
    let (x, w) = (numbers(rows * INPUTS), numbers(OUTPUTS * INPUTS));
    let mut out = vec![0f32; rows * OUTPUTS];
    fastest(rows, || {
        // SAFETY: strides are those of row-major `[rows, inputs]`, `[outputs, inputs]` read as its
        // transpose, and `[rows, outputs]`, whose lengths the vectors have.
        unsafe {
            gemm::gemm(
                rows, OUTPUTS, INPUTS,
                out.as_mut_ptr(), 1, OUTPUTS as isize, false,
                x.as_ptr(), 1, INPUTS as isize,
                w.as_ptr(), INPUTS as isize, 1,
                0.0, 1.0, false, false, false,
                gemm::Parallelism::Rayon(0),
            );
        }
        Ok(())
    })
}

fn rten_f32(rows: usize) -> Result<f64> {
    let x = NdTensor::from_data([rows, INPUTS], numbers(rows * INPUTS));
    let w = NdTensor::from_data([OUTPUTS, INPUTS], numbers(OUTPUTS * INPUTS));
    let mut out = vec![0f32; rows * OUTPUTS];
    let executor = GemmExecutor::<f32, f32, f32>::new();
    fastest(rows, || {
        let (a, b) = (GemmInputA::Unpacked(x.view()), GemmInputB::Unpacked(w.transposed()));
        Ok(executor.gemm(&mut out, a, b, GemmOptions::default())?)
    })
}

/// Integers alone: neither quantizing the inputs nor scaling the outputs is counted.
fn rten_int8(rows: usize) -> Result<f64> {
    let x = NdTensor::from_data([rows, INPUTS], (0..rows * INPUTS).map(|i| i as u8).collect::<Vec<_>>());
    let w = NdTensor::from_data([OUTPUTS, INPUTS], (0..OUTPUTS * INPUTS).map(|i| i as i8).collect::<Vec<_>>());
    let mut out = vec![0i32; rows * OUTPUTS];
    let executor = GemmExecutor::<u8, i8, i32>::new();
    fastest(rows, || {
        let (a, b) = (GemmInputA::Unpacked(x.view()), GemmInputB::Unpacked(w.transposed()));
        Ok(executor.gemm(&mut out, a, b, GemmOptions::default())?)
    })
}
