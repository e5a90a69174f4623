//! Block formats against GGML: `ggml/make.py` wrote what its functions give.
#![allow(clippy::unwrap_used)] // a failed test should panic

use grating_quant::{Format, MatrixError};
use grating_quant::{
    dequantize, quantize_q4_0, quantize_q4_k, quantize_q8_0, quantize_q8_0_in_groups,
};
use proptest::prelude::*;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn row() -> Vec<f32> {
    floats(include_bytes!("ggml/row.f32"))
}

#[test]
fn q8_0_has_the_bytes_of_ggml() {
    let mut stored = Vec::new();
    quantize_q8_0(&row(), &mut stored).unwrap();
    assert_eq!(stored, include_bytes!("ggml/q8_0.bin"));
}

#[test]
fn q4_0_has_the_bytes_of_ggml() {
    let mut stored = Vec::new();
    quantize_q4_0(&row(), &mut stored).unwrap();
    assert_eq!(stored, include_bytes!("ggml/q4_0.bin"));
}

#[test]
fn blocks_stand_for_the_numbers_of_ggml() {
    let cases: [(Format, &[u8], &[u8]); 8] = [
        (Format::Q8_0, include_bytes!("ggml/q8_0.bin"), include_bytes!("ggml/q8_0.f32")),
        (Format::Q4_0, include_bytes!("ggml/q4_0.bin"), include_bytes!("ggml/q4_0.f32")),
        (Format::Q4_1, include_bytes!("ggml/q4_1.bin"), include_bytes!("ggml/q4_1.f32")),
        (Format::Q5_0, include_bytes!("ggml/q5_0.bin"), include_bytes!("ggml/q5_0.f32")),
        (Format::Q5_1, include_bytes!("ggml/q5_1.bin"), include_bytes!("ggml/q5_1.f32")),
        (Format::Q4K, include_bytes!("ggml/q4_k.bin"), include_bytes!("ggml/q4_k.f32")),
        (Format::Q5K, include_bytes!("ggml/q5_k.bin"), include_bytes!("ggml/q5_k.f32")),
        (Format::Q6K, include_bytes!("ggml/q6_k.bin"), include_bytes!("ggml/q6_k.f32")),
    ];
    assert_eq!(cases.len(), Format::ALL.iter().filter(|f| f.block_elements() > 1).count());
    for (format, stored, expected) in cases {
        let mut numbers = Vec::new();
        dequantize(format, stored, &mut numbers).unwrap();
        assert_eq!(numbers, floats(expected), "{format:?}");
    }
}

#[test]
fn parts_of_blocks_are_refused() {
    let error = quantize_q8_0(&[0.0; 33], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, MatrixError::PartialBlock { columns: 33, .. }));
    let error = dequantize(Format::Q4_0, &[0; 19], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, MatrixError::Length { found: 19, .. }));
}

/// Root of the mean squared error, as a part of that of the numbers themselves.
fn q4_k_error(row: &[f32]) -> f32 {
    let (mut stored, mut numbers) = (vec![], vec![]);
    quantize_q4_k(row, &mut stored).unwrap();
    assert_eq!(stored.len(), row.len() / 256 * 144);
    dequantize(Format::Q4K, &stored, &mut numbers).unwrap();
    let error: f32 = row.iter().zip(&numbers).map(|(x, y)| (x - y).powi(2)).sum();
    let size: f32 = row.iter().map(|x| x.powi(2)).sum();
    if size == 0.0 { error } else { (error / size).sqrt() }
}

#[test]
fn q4_k_is_closer_than_the_ends_of_the_range_alone() {
    let normal: Vec<f32> = row()[256..].to_vec();
    // Fifteen steps from the lowest to the highest number of each group, unrounded.
    let (mut ends, mut size) = (0.0, 0.0);
    for group in normal.chunks(32) {
        let low = group.iter().fold(0.0f32, |m, &x| m.min(x));
        let step = (group.iter().fold(0.0f32, |m, &x| m.max(x)) - low) / 15.0;
        ends += group
            .iter()
            .map(|x| (((x - low) / step).round() * step + low - x).powi(2))
            .sum::<f32>();
        size += group.iter().map(|x| x.powi(2)).sum::<f32>();
    }
    assert!(q4_k_error(&normal) < 0.97 * (ends / size).sqrt(), "{}", q4_k_error(&normal));
    // What lies on the steps of one line for each group stays there.
    let steps: Vec<f32> = (0..512).map(|i| (i * 7 % 16) as f32 * 0.5 - 3.0).collect();
    assert!(q4_k_error(&steps) < 0.012, "{}", q4_k_error(&steps));
    assert_eq!(q4_k_error(&[0.0; 256]), 0.0);
    assert!(q4_k_error(&[3.0; 256]) < 0.001);
    assert!(q4_k_error(&[-3.0; 256]) < 0.001);
    assert!(quantize_q4_k(&[0.0; 128], &mut Vec::new()).is_err());
}

proptest! {
    /// No number is further off than a step of its group, whatever its size.
    #[test]
    fn q4_k_stays_within_its_steps(
        row in prop::collection::vec(-1f32..1.0, 256), sizes in prop::collection::vec(1e-4f32..1e4, 8),
    ) {
        let row: Vec<f32> = row.iter().enumerate().map(|(i, x)| x * sizes[i / 32]).collect();
        let (mut stored, mut numbers) = (vec![], vec![]);
        quantize_q4_k(&row, &mut stored).unwrap();
        dequantize(Format::Q4K, &stored, &mut numbers).unwrap();
        let largest = row.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (x, y)) in row.iter().zip(&numbers).enumerate() {
            let group = &row[i / 32 * 32..][..32];
            let range = group.iter().fold(0.0f32, |m, &x| m.max(x))
                - group.iter().fold(0.0f32, |m, &x| m.min(x));
            // Cut by a ninth at either end, plus half a unit of scale and minimum.
            let allowed = range * 0.2 + largest / 63.0 * 1.5;
            prop_assert!((x - y).abs() <= allowed, "{x} {y} {allowed}");
        }
    }
    /// Whole steps of which the largest magnitude of every 128 is 127: quantized again by 128, none is rounded.
    #[test]
    fn groups_of_blocks_have_one_step(row in prop::collection::vec(-100f32..100.0, 320)) {
        let (mut stored, mut numbers) = (vec![], vec![]);
        quantize_q8_0_in_groups(&row, &mut stored).unwrap();
        dequantize(Format::Q8_0, &stored, &mut numbers).unwrap();
        for (group, numbers) in row.chunks(128).zip(numbers.chunks(128)) {
            let largest = numbers.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (x, y) in group.iter().zip(numbers) {
                let steps = y * (127.0 / largest);
                prop_assert!((steps - steps.round()).abs() < 1e-3, "{steps}");
                prop_assert!((x - y).abs() <= largest * (0.5 / 127.0 + 1.0 / 1024.0));
            }
        }
    }

    /// Half a step of the largest magnitude of a block, and the rounding of the scale to f16.
    #[test]
    fn blocks_come_back_within_half_a_step(row in prop::collection::vec(-100f32..100.0, 64)) {
        let (mut q8, mut q4, mut from_q8, mut from_q4) = (vec![], vec![], vec![], vec![]);
        quantize_q8_0(&row, &mut q8).unwrap();
        quantize_q4_0(&row, &mut q4).unwrap();
        dequantize(Format::Q8_0, &q8, &mut from_q8).unwrap();
        dequantize(Format::Q4_0, &q4, &mut from_q4).unwrap();
        for (i, x) in row.iter().enumerate() {
            let block = &row[i / 32 * 32..][..32];
            let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            prop_assert!((x - from_q8[i]).abs() <= largest * (0.5 / 127.0 + 1.0 / 1024.0));
            // The far end of the other sign is 7 steps of 8.
            prop_assert!((x - from_q4[i]).abs() <= largest * (1.0 / 8.0 + 1.0 / 1024.0));
        }
    }
}
