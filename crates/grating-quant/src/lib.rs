//! The formats that weights are stored in: block formats of GGML and plain ones, numbers to blocks and back.
//!
//! Quantizing to [`Format::Q8_0`] and [`Format::Q4_0`] gives the same bytes as the reference implementation of GGML; to
//! [`Format::Q8_0`] in groups and [`Format::Q4K`], blocks that GGML reads: the former with steps of products of integers,
//! the latter found by a search of our own.
//!
//! ```
//! use grating_quant::{Format, dequantize, quantize_q8_0};
//!
//! let (mut stored, mut numbers) = (Vec::new(), Vec::new());
//! quantize_q8_0(&[127.0; 32], &mut stored)?;
//! dequantize(Format::Q8_0, &stored, &mut numbers)?;
//! assert_eq!((stored.len(), numbers), (34, vec![127.0; 32]));
//! # Ok::<(), grating_quant::MatrixError>(())
//! ```
#![deny(unsafe_code)]

mod decode;
mod q4_k;

use half::f16;
use thiserror::Error;

pub use decode::decode;
pub use grating_backend::Format;

/// Weights that one step is for in products of integers: four blocks of [`Format::Q8_0`].
pub const GROUP: usize = 128;

/// Elements of a block of [`Format::Q8_0`] and [`Format::Q4_0`].
const BLOCK: usize = 32;

/// Bytes that are not the matrix they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A row ends inside a block.
    #[error("{columns} columns are no whole number of {format:?} blocks of {} elements", .format.block_elements())]
    PartialBlock {
        /// The format.
        format: Format,
        /// Elements of a row.
        columns: usize,
    },
    /// Too few or too many bytes.
    #[error("a {format:?} matrix of {rows} x {columns} takes {expected:?} bytes, not {found}")]
    Length {
        /// The format.
        format: Format,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
        /// Bytes that it takes; `None`: more than the address space.
        expected: Option<usize>,
        /// Bytes that were given.
        found: usize,
    },
}

/// Appends `row` to `out` as blocks of [`Format::Q8_0`].
///
/// # Errors
///
/// [`MatrixError::PartialBlock`] if the row is no whole number of blocks.
pub fn quantize_q8_0(row: &[f32], out: &mut Vec<u8>) -> Result<(), MatrixError> {
    quantize_q8_0_by(BLOCK, row, out)
}

/// Appends `row` to `out` as blocks of [`Format::Q8_0`] of which four neighbours have one step: products of integers,
/// which take a scale for every 128 weights, find the weights' own steps in them and round nothing again.
///
/// # Errors
///
/// [`MatrixError::PartialBlock`] if the row is no whole number of blocks.
pub fn quantize_q8_0_in_groups(row: &[f32], out: &mut Vec<u8>) -> Result<(), MatrixError> {
    quantize_q8_0_by(GROUP, row, out)
}

/// One step for every `group` elements, whole blocks.
fn quantize_q8_0_by(group: usize, row: &[f32], out: &mut Vec<u8>) -> Result<(), MatrixError> {
    let blocks = blocks::<BLOCK>(Format::Q8_0, row)?;
    for (group, blocks) in row.chunks(group).zip(blocks.chunks(group / BLOCK)) {
        let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        for block in blocks {
            out.extend(f16::from_f32(scale).to_le_bytes());
            out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
        }
    }
    Ok(())
}

/// Appends `row` to `out` as blocks of [`Format::Q4_0`].
///
/// # Errors
///
/// [`MatrixError::PartialBlock`] if the row is no whole number of blocks.
pub fn quantize_q4_0(row: &[f32], out: &mut Vec<u8>) -> Result<(), MatrixError> {
    for block in blocks::<BLOCK>(Format::Q4_0, row)? {
        // The element of the largest magnitude becomes exactly -8 steps.
        let furthest = block.iter().fold(0.0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
        let scale = furthest / -8.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        out.extend(f16::from_f32(scale).to_le_bytes());
        // Truncation, as GGML does.
        let quantize = |x: f32| ((x * inverse + 8.5) as u8).min(15);
        let (first, second) = block.split_at(BLOCK / 2);
        out.extend(first.iter().zip(second).map(|(&a, &b)| quantize(a) | quantize(b) << 4));
    }
    Ok(())
}

/// Appends `row` to `out` as blocks of [`Format::Q4K`], with the least squared error that a search among a few ranges
/// of each group finds.
///
/// # Errors
///
/// [`MatrixError::PartialBlock`] if the row is no whole number of blocks.
pub fn quantize_q4_k(row: &[f32], out: &mut Vec<u8>) -> Result<(), MatrixError> {
    for block in blocks::<{ q4_k::BLOCK }>(Format::Q4K, row)? {
        q4_k::quantize(block, out);
    }
    Ok(())
}

/// The numbers that `bytes` stand for, appended to `out`.
///
/// # Errors
///
/// [`MatrixError::Length`] if the bytes are no whole number of blocks.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), MatrixError> {
    let first = out.len();
    out.resize(first + bytes.len() / format.block_bytes() * format.block_elements(), 0.0);
    let written = dequantize_into(format, bytes, &mut out[first..]);
    if written.is_err() {
        out.truncate(first);
    }
    written
}

/// The numbers that `bytes` stand for, written to `out`.
///
/// # Errors
///
/// [`MatrixError::Length`] if the bytes are not those of as many numbers as `out` has.
pub fn dequantize_into(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<(), MatrixError> {
    let expected = format.row_bytes(out.len());
    if expected != Some(bytes.len()) {
        let (rows, columns, found) = (1, out.len(), bytes.len());
        return Err(MatrixError::Length { format, rows, columns, expected, found });
    }
    decode(format, bytes, out);
    Ok(())
}

fn blocks<const LEN: usize>(format: Format, row: &[f32]) -> Result<&[[f32; LEN]], MatrixError> {
    match row.as_chunks() {
        (blocks, []) => Ok(blocks),
        _ => Err(MatrixError::PartialBlock { format, columns: row.len() }),
    }
}

/// The README's example is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
