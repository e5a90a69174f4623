//! Element values: a function of seed, tensor name and position alone, so that any part of any
//! tensor can be made by any thread.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::shapes::Dtype;
use super::tensors::{Fill, TensorSpec};

/// Elements converted at a time; the scratch space stays in the first-level cache.
const BATCH: usize = 1024;

/// Bytes of one element of `spec` in a checkpoint of `dtype`.
pub(crate) fn element_bytes(spec: &TensorSpec, dtype: Dtype) -> u64 {
    match spec.fill {
        Fill::Positions => 8,
        Fill::Normal(_) | Fill::Constant(_) => dtype.bytes(),
    }
}

/// Writes the elements of `spec` from `first` on, as little-endian bytes that fill `out`.
pub(crate) fn fill(spec: &TensorSpec, dtype: Dtype, seed: u64, first: u64, out: &mut [u8]) {
    match spec.fill {
        Fill::Positions => {
            for (position, bytes) in (first..).zip(out.chunks_exact_mut(8)) {
                bytes.copy_from_slice(&position.to_le_bytes());
            }
        }
        Fill::Constant(value) => floats(dtype, out, |_, batch| batch.fill(value)),
        Fill::Normal(std) => {
            let key = mix(seed ^ name_hash(&spec.name));
            floats(dtype, out, |at, batch| {
                for (i, value) in (first + at as u64..).zip(batch) {
                    *value = std * normal(mix(key.wrapping_add(i.wrapping_mul(GOLDEN))));
                }
            });
        }
    }
}

/// Fills `out` with floats of `dtype` that `make` produces in batches, given the element's index.
fn floats(dtype: Dtype, out: &mut [u8], make: impl Fn(usize, &mut [f32])) {
    let mut values = [0.0; BATCH];
    let width = dtype.bytes() as usize;
    for (batch, bytes) in out.chunks_mut(BATCH * width).enumerate() {
        let values = &mut values[..bytes.len() / width];
        make(batch * BATCH, values);
        match dtype {
            Dtype::F32 => store(values, bytes, f32::to_le_bytes),
            Dtype::Bf16 => store(values, bytes, |value| bf16_bits(value).to_le_bytes()),
            Dtype::F16 => {
                let mut narrow = [f16::ZERO; BATCH];
                let narrow = &mut narrow[..values.len()];
                narrow.convert_from_f32_slice(values);
                store(narrow, bytes, f16::to_le_bytes);
            }
        }
    }
}

/// `half::bf16::from_f32` for finite values, which the compiler turns into vector code.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    // Round to nearest, ties to even.
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

fn store<T: Copy, const WIDTH: usize>(
    values: &[T],
    bytes: &mut [u8],
    to_bytes: impl Fn(T) -> [u8; WIDTH],
) {
    for (value, bytes) in values.iter().zip(bytes.chunks_exact_mut(WIDTH)) {
        bytes.copy_from_slice(&to_bytes(*value));
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): a counter times this, through `mix`.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a.
fn name_hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01B3))
}

/// Standard normal to within the eye: the sum of four uniform numbers of 16 bits each, centred and
/// scaled to variance 1 (Irwin-Hall; no value beyond 3.47 standard deviations).
fn normal(bits: u64) -> f32 {
    const LANES: u64 = 0x0000_FFFF_0000_FFFF;
    let halves = (bits & LANES) + ((bits >> 16) & LANES);
    let sum = (halves & 0xFFFF_FFFF) + (halves >> 32);
    // The mean is 4 * 32767.5; the variance of one lane is (2^32 - 1) / 12.
    (sum as u32 as f32 - 131_070.0) * (1.0 / 37_837.23)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn spec(fill: Fill, elements: usize) -> TensorSpec {
        TensorSpec {
            name: "model.layers.0.mlp.up_proj.weight".to_owned(),
            shape: vec![elements],
            fill,
        }
    }

    fn f32s(seed: u64, first: u64, n: usize) -> Vec<f32> {
        let mut bytes = vec![0; 4 * n];
        fill(&spec(Fill::Normal(0.02), n), Dtype::F32, seed, first, &mut bytes);
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn values_are_about_normal() {
        let values = f32s(1, 0, 200_000);
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let std = (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 3e-4, "{mean}");
        assert!((std - 0.02).abs() < 2e-4, "{std}");
        let within = |k: f32| values.iter().filter(|v| v.abs() < k * 0.02).count() as f64 / n;
        assert!((within(1.0) - 0.683).abs() < 0.02);
        assert!((within(2.0) - 0.954).abs() < 0.02);
    }

    #[test]
    fn any_part_is_the_same_part_of_the_whole() {
        let whole = f32s(7, 0, 5000);
        assert_eq!(f32s(7, 1234, 3000), whole[1234..4234]);
        assert_ne!(f32s(8, 0, 5000), whole);
    }

    #[test]
    fn narrow_types_are_the_rounded_wide_ones() {
        let (spec, wide) = (spec(Fill::Normal(0.02), 3000), f32s(3, 0, 3000));
        let mut bytes = vec![0; 6000];
        fill(&spec, Dtype::Bf16, 3, 0, &mut bytes);
        for (value, b) in wide.iter().zip(bytes.chunks_exact(2)) {
            assert_eq!(bf16::from_f32(*value), bf16::from_le_bytes([b[0], b[1]]));
        }
        fill(&spec, Dtype::F16, 3, 0, &mut bytes);
        for (value, b) in wide.iter().zip(bytes.chunks_exact(2)) {
            assert_eq!(f16::from_f32(*value), f16::from_le_bytes([b[0], b[1]]));
        }
    }

    #[test]
    fn constants_and_positions() {
        let mut bytes = [0; 8];
        fill(&spec(Fill::Constant(1.0), 4), Dtype::Bf16, 0, 0, &mut bytes);
        assert_eq!(bytes, [0x80, 0x3F, 0x80, 0x3F, 0x80, 0x3F, 0x80, 0x3F]);
        fill(&spec(Fill::Positions, 9), Dtype::F32, 0, 8, &mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), 8);
    }
}
