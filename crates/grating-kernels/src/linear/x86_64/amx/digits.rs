//! Products of f32 as products of their digits.
//!
//! A number is a multiple of a 2²³rd of the largest of a group of its row, give or take half of one, and such a multiple has
//! three digits of eight bits. Products of digits are exact, and so are their sums:
//!
//! ```text
//! x · w = 2³² x₀w₀ + 2²⁴ (x₀w₁ + x₁w₀) + 2¹⁶ (x₀w₂ + x₁w₁ + x₂w₀) + 2⁸ (x₁w₂ + x₂w₁) + x₂w₂
//! ```
//!
//! The last one is left out: it counts for less than a rounding. Each power of two has sums of its own, which take four registers,
//! so the steps pass by four times. It is known as Ozaki's scheme (doi 10.1007/s11075-011-9478-1), with integers as in arXiv
//! 2306.11975.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::super::microkernel::Tile;
use super::super::avx512::store_row;
use super::registers::{Registers, of_panel, prefetch, store_nothing, w, x};
use super::{GROUP, PANEL, ROWS};

/// Elements of a row in a step: of bytes a register has twice as many as of bfloat16.
pub(super) const STEP: usize = 64;

/// Digits of a number.
pub(super) const DIGITS: usize = 3;

/// Units of a row in a step.
const UNITS: usize = STEP / 4;

/// Units of a step of a panel of weights, one digit of each.
const PLANE: usize = UNITS * PANEL;

/// Lines of later activations that are sent for in each step: with a dozen panels half of them.
const LINES_AHEAD: usize = 4;

/// Sums of products of digits.
type Sums = [[i32; PANEL]; ROWS];

/// Powers of 2⁸ whose products are taken.
const POWERS: usize = 4;

/// What the products of a panel come to, those of the highest power first.
#[repr(align(64))]
struct Outcome(MaybeUninit<[Sums; POWERS]>);

/// A panel, and a group of columns, whose products are taken and not yet written.
#[derive(Clone, Copy)]
struct Done {
    panel: usize,
    group: usize,
    outcome: *const Sums,
}

/// Where a step is: upper rows of activations, and weights.
#[derive(Clone, Copy)]
struct At {
    x: [*const u32; DIGITS],
    w: *const u32,
}

/// Adds the products of some pairs of digits, weights first.
macro_rules! products {
    (@$rows:ident, $at:ident: $($w:literal by $x:literal),+) => {
        asm!(
            $(w!($w), x!($rows, "tdpbssd", $x),)+
            // All are named, and those that are not used cost nothing.
            "/* {x0} {x1} {x2} */",
            x0 = in(reg) $at.x[0],
            x1 = in(reg) $at.x[1],
            x2 = in(reg) $at.x[2],
            w = in(reg) $at.w,
            narrow = in(reg) 64usize,
            wide = in(reg) 128usize,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags),
        )
    };
    ($two:ident, $at:ident: $($w:literal by $x:literal),+) => {
        if $two {
            products!(@two, $at: $($w by $x),+)
        } else {
            products!(@one, $at: $($w by $x),+)
        }
    };
}

/// A tile of products of digits; `FULL`: of weights any of which may have a third digit. Where hardly any has one, `x₁w₂` is
/// left out as well.
///
/// # Safety
///
/// See [`TileFn`](super::super::super::microkernel::TileFn).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile<const FULL: bool>(tile: &Tile) {
    // One is written while the products of the next are taken.
    let mut outcomes = [const { Outcome(MaybeUninit::uninit()) }; 2];
    let registers = Registers::new(tile.rows);
    let all = tile.units / UNITS;
    let mut done: Option<Done> = None;
    // SAFETY: the caller promises so many units of rows and of panels, in three digits, and their scales; what is read of
    // them and written of the sums is what the registers are set up for. The compiler keeps nothing in those: what a block
    // leaves in them the next one finds.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const registers, options(nostack, readonly));
        for (group, first) in (0..all).step_by(GROUP / STEP).enumerate() {
            let steps = (GROUP / STEP).min(all - first);
            for panel in 0..tile.panels {
                let outcome =
                    outcomes[(group * tile.panels + panel) % 2].0.as_mut_ptr().cast::<Sums>();
                multiply::<FULL>(tile, (panel, first, steps), outcome, done);
                done = Some(Done { panel, group, outcome });
            }
        }
        asm!("tilerelease", options(nostack, nomem));
        match done {
            Some(done) => write(tile, done, 0, tile.rows),
            None => store_nothing(tile),
        }
    }
}

/// Takes the products of some steps of a panel, and meanwhile writes what is done.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn multiply<const FULL: bool>(
    tile: &Tile,
    (panel, first, steps): (usize, usize, usize),
    outcome: *mut Sums,
    done: Option<Done>,
) {
    let plane = tile.rows * UNITS;
    let x = tile.x.wrapping_add(first * DIGITS * plane);
    let w = tile.w.wrapping_add(panel * tile.panel_words + first * DIGITS * PLANE);
    let two = tile.rows > 16;
    let at = |step: usize| At {
        x: std::array::from_fn(|digit| x.wrapping_add((step * DIGITS + digit) * plane)),
        w: w.wrapping_add(step * DIGITS * PLANE),
    };
    let share = |step: usize| step * tile.rows / steps..(step + 1) * tile.rows / steps;
    // SAFETY: as promised to `tile`.
    unsafe {
        zero(two);
        for step in 0..steps {
            let at = at(step);
            if FULL {
                products!(two, at: 1 by "x2", 2 by "x1");
            } else {
                products!(two, at: 1 by "x2");
            }
            prefetch(tile, panel, share(step));
        }
        keep(outcome.add(3), two);
        zero(two);
        for step in 0..steps {
            let at = at(step);
            products!(two, at: 2 by "x0", 0 by "x2", 1 by "x1");
            if let Some(done) = done {
                let rows = share(step);
                write(tile, done, rows.start, rows.end);
            }
        }
        keep(outcome.add(2), two);
        zero(two);
        for step in 0..steps {
            let at = at(step);
            products!(two, at: 1 by "x0", 0 by "x1");
        }
        keep(outcome.add(1), two);
        zero(two);
        for step in 0..steps {
            let at = at(step);
            // Those of the next group, or of the next tile; each panel sends for others.
            let later = DIGITS * plane * steps + (panel * steps + step) * LINES_AHEAD * UNITS;
            send_for(x.wrapping_add(later));
            products!(two, at: 0 by "x0");
        }
        keep(outcome, two);
    }
}

/// Sends for some lines of activations.
#[inline]
#[target_feature(enable = "avx512f")]
fn send_for(activations: *const u32) {
    for line in 0..LINES_AHEAD {
        // Safe from Rust 1.94 on.
        #[allow(unused_unsafe)]
        // SAFETY: a prefetch does no harm at any address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(activations.wrapping_add(line * UNITS).cast());
        }
    }
}

/// Sums of the upper rows, or of both, start with nothing.
#[inline(always)]
unsafe fn zero(two: bool) {
    // SAFETY: the registers are set up.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", options(nostack, nomem, preserves_flags));
        if two {
            asm!("tilezero tmm2", "tilezero tmm3", options(nostack, nomem, preserves_flags));
        }
    }
}

/// Writes the sums of the upper rows, or of both.
#[inline(always)]
unsafe fn keep(sums: *mut Sums, two: bool) {
    // SAFETY: as promised to `tile`; a row of sums has 128 bytes.
    unsafe {
        asm!(
            "tilestored [{sums} + {wide}], tmm0",
            "tilestored [{sums} + {wide} + 64], tmm1",
            sums = in(reg) sums,
            wide = in(reg) 128usize,
            options(nostack, preserves_flags),
        );
        if two {
            asm!(
                "tilestored [{sums} + {wide} + 2048], tmm2",
                "tilestored [{sums} + {wide} + 2112], tmm3",
                sums = in(reg) sums,
                wide = in(reg) 128usize,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Writes some rows of what is done.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn write(tile: &Tile, done: Done, first: usize, end: usize) {
    let mut of_panel = of_panel(tile, done.panel);
    if done.group > 0 {
        // The first group's products have been written, with the bias.
        (of_panel.bias, of_panel.accumulate) = (std::ptr::null(), true);
    }
    let base = _mm512_set1_ps(256.0);
    // SAFETY: as promised to `tile`.
    unsafe {
        let w_scales = tile.w_scales.add(done.panel * tile.panel_words + done.group * PANEL);
        let x_scales = tile.x_scales.add(done.group * tile.rows);
        let w_scales = [_mm512_load_ps(w_scales), _mm512_load_ps(w_scales.add(16))];
        for row in first..end {
            // Of the lowest power.
            let x_scale = _mm512_set1_ps(256.0 * x_scales.add(row).read());
            let half = |half: usize| {
                let sums = |power: usize| {
                    let sums = done.outcome.add(power).cast::<i32>().add(row * PANEL + 16 * half);
                    _mm512_cvtepi32_ps(_mm512_load_si512(sums.cast()))
                };
                let sum =
                    (1..POWERS).fold(sums(0), |sum, power| _mm512_fmadd_ps(sum, base, sums(power)));
                _mm512_mul_ps(_mm512_mul_ps(sum, x_scale), w_scales[half])
            };
            store_row(&of_panel, row, [half(0), half(1)]);
        }
    }
}
