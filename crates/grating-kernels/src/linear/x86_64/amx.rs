//! AMX: products of whole tiles. Two registers of 16 rows of activations and two of 16 columns of weights make a tile of 32
//! rows × 32 columns, whose sums are in four more of the eight registers.
//!
//! # Products of f32
//!
//! There are two ways. The instructions multiply bfloat16, exactly, and add in f32. A number of 24 bits is the sum of three of 8: of
//! weights in bfloat16 the first is all, of those in f16 the first two are. A product of f32 is the sum of the products of the parts,
//! of which those that count for less than a rounding are left out. That makes 3 products with weights in bfloat16, 5 with
//! f16 and 6 with f32, at sixteen times the rate of f32.
//!
//! Or numbers are cut into [digits] of eight bits, all of a row by the largest of them: 7 products with weights of two bytes, 8 with
//! f32, at thirty-two times the rate.

mod cut;
mod digits;
mod pack;
mod registers;
mod tile;

use super::super::Products;
use super::super::microkernel::{Microkernel, Order, Packing, TileFn};
use super::super::tasks::BLOCK_COLUMNS;
use super::avx512::{PANEL, decode};
use crate::format::Format;

/// Most panels that pass by a tile of activations: their sums are kept meanwhile.
const PANELS: usize = 16;

/// Rows of the tallest tile: two registers.
const ROWS: usize = 32;

/// Elements of bfloat16 in a row of a register.
const STEP: usize = 32;

/// Products in f32 with weights of this format.
pub(in super::super) fn f32(format: Format) -> &'static Microkernel {
    match format {
        Format::Bf16 => &F32_BY_BF16,
        Format::F16 => &F32_BY_F16,
        _ => &F32,
    }
}

/// Products of f32 with weights that are bfloat16.
static F32_BY_BF16: Microkernel = by_parts(1, &[tile::three_by_one as TileFn; ROWS]);

/// Products of f32 with weights that are f16.
static F32_BY_F16: Microkernel = by_parts(2, &[tile::three_by_two as TileFn; ROWS]);

/// Products of f32.
static F32: Microkernel = by_parts(3, &[tile::three_by_three as TileFn; ROWS]);

/// Products of three parts of activations with so many of weights. Weights that have fewer are not packed by the others'.
const fn by_parts(parts: usize, tiles: &'static [TileFn]) -> Microkernel {
    let w = [pack::weights_of_f32, pack::weights_of_f16, pack::weights_of_bf16];
    let packing = Packing::Floats { x: pack::activations, w, decode };
    Microkernel {
        group: 2,
        step: STEP,
        planes: (3, parts),
        panel: PANEL,
        panels: PANELS,
        order: Order::Tile,
        tiles,
        packing,
    }
}

/// Columns that share a scale when they are cut into digits: sums of so many products of digits fit f32.
const GROUP: usize = 512;
const _: () = assert!(BLOCK_COLUMNS.is_multiple_of(GROUP) && GROUP.is_multiple_of(PANEL));

/// Products of digits with weights of this format.
pub(in super::super) fn digits(format: Format) -> &'static Microkernel {
    match format {
        Format::F16 | Format::Bf16 => &DIGITS_BY_HALVES,
        _ => &DIGITS,
    }
}

/// Products of digits.
static DIGITS: Microkernel = by_digits(&[digits::tile::<true> as TileFn; ROWS]);

/// Products of digits with weights that have two bytes.
static DIGITS_BY_HALVES: Microkernel = by_digits(&[digits::tile::<false> as TileFn; ROWS]);

const fn by_digits(tiles: &'static [TileFn]) -> Microkernel {
    Microkernel {
        group: 4,
        step: digits::STEP,
        planes: (digits::DIGITS, digits::DIGITS),
        panel: PANEL,
        panels: PANELS,
        order: Order::Tile,
        tiles,
        packing: Packing::Digits {
            columns: GROUP,
            x: cut::activations,
            w: [cut::weights_of_f32, cut::weights_of_f16, cut::weights_of_bf16],
            restore: cut::restore,
            decode,
        },
    }
}

/// Products of two matrices in f32, rounded to bfloat16.
pub(in super::super) fn products() -> Products {
    Products {
        micro: &BF16,
        left: pack::rounded_activations,
        columns: pack::rounded_f32,
        rows: pack::rounded_rows,
    }
}

/// Products of bfloat16.
pub(in super::super) static BF16: Microkernel = Microkernel {
    group: 2,
    step: STEP,
    planes: (1, 1),
    panel: PANEL,
    panels: PANELS,
    order: Order::Tile,
    tiles: &[tile::one_by_one as TileFn; ROWS],
    packing: Packing::Floats {
        x: pack::rounded_activations,
        w: [pack::rounded_f32, pack::rounded_f16, pack::weights_of_bf16],
        decode,
    },
};
