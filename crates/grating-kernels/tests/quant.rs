//! Block formats against GGML: `ggml/make.py` wrote what its functions give.

use grating_kernels::quant::{dequantize, quantize_q4_0, quantize_q8_0};
use grating_kernels::{Format, MatrixError};
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
    let cases: [(Format, &[u8], &[u8]); 3] = [
        (Format::Q8_0, include_bytes!("ggml/q8_0.bin"), include_bytes!("ggml/q8_0.f32")),
        (Format::Q4_0, include_bytes!("ggml/q4_0.bin"), include_bytes!("ggml/q4_0.f32")),
        (Format::Q4K, include_bytes!("ggml/q4_k.bin"), include_bytes!("ggml/q4_k.f32")),
    ];
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

proptest! {
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
