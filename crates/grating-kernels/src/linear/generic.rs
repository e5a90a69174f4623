//! Plain Rust, for any target: the compiler makes vectors of the inner loops.

use half::{bf16, f16};

use super::microkernel::{Microkernel, PackFn, Source, Tile, TileFn};

const PANEL: usize = 8;

/// Products of f32.
pub(super) static F32: Microkernel = Microkernel {
    group: 1,
    panel: PANEL,
    tiles: &[tile::<1> as TileFn, tile::<2>, tile::<3>, tile::<4>],
    packs: [pack::<4, F32Elements> as PackFn, pack::<2, F16Elements>, pack::<2, Bf16Elements>],
};

/// A stored element of `N` bytes.
trait Element<const N: usize> {
    fn decode(bytes: [u8; N]) -> f32;
}

struct F32Elements;
struct F16Elements;
struct Bf16Elements;

impl Element<4> for F32Elements {
    fn decode(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

impl Element<2> for F16Elements {
    fn decode(bytes: [u8; 2]) -> f32 {
        f16::from_le_bytes(bytes).to_f32()
    }
}

impl Element<2> for Bf16Elements {
    fn decode(bytes: [u8; 2]) -> f32 {
        bf16::from_le_bytes(bytes).to_f32()
    }
}

/// Packs elements of `N` bytes as f32.
///
/// # Safety
///
/// See [`PackFn`].
unsafe fn pack<const N: usize, E: Element<N>>(source: &Source<'_>, lanes: usize, into: *mut u32) {
    // SAFETY: the caller promises the room.
    let into = unsafe { std::slice::from_raw_parts_mut(into, lanes * source.count) };
    if source.rows < lanes {
        into.fill(0);
    }
    for row in 0..source.rows {
        let (elements, _) = source.bytes[row * source.stride..][..source.count * N].as_chunks();
        for (unit, &bytes) in into[row..].iter_mut().step_by(lanes).zip(elements) {
            *unit = E::decode(bytes).to_bits();
        }
    }
}

/// A tile of `M` rows.
///
/// # Safety
///
/// See [`TileFn`].
unsafe fn tile<const M: usize>(tile: &Tile) {
    let mut sums = [[0.0f32; PANEL]; M];
    for (row, sums) in sums.iter_mut().enumerate().filter(|_| !tile.start.is_null()) {
        // SAFETY: the caller promises `columns` elements in each of `M` rows.
        let start = unsafe {
            std::slice::from_raw_parts(tile.start.add(row * tile.start_stride), tile.columns)
        };
        sums[..tile.columns].copy_from_slice(start);
    }
    for unit in 0..tile.units {
        // SAFETY: the caller promises `units` units of `M` rows and of a panel.
        let (x, w) = unsafe {
            let x = tile.x.cast::<[f32; M]>().add(unit).read();
            (x, tile.w.cast::<[f32; PANEL]>().add(unit).read())
        };
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = multiply_add(x, w, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: as above, and nobody else has these elements.
        let out = unsafe {
            std::slice::from_raw_parts_mut(tile.out.add(row * tile.out_stride), tile.columns)
        };
        out.copy_from_slice(&sums[..tile.columns]);
    }
}

/// `x * w + sum`, fused where the target does that in one instruction.
#[inline(always)]
fn multiply_add(x: f32, w: f32, sum: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        x.mul_add(w, sum)
    } else {
        x * w + sum
    }
}
