//! Products of bfloat16, which f32 are the sums of.

use std::arch::asm;

use super::super::super::microkernel::Tile;
use super::super::super::tasks::BLOCK_COLUMNS;
use super::PANEL;
use super::registers::{Registers, Square, Squares, prefetch, store, store_nothing, w, x};

/// Units of a row in a step.
const STEP_UNITS: usize = super::STEP / 2;

/// The sums start with zeros or with what they are so far.
macro_rules! start {
    (one) => {
        concat!(
            "test {fresh}, {fresh}\n",
            "jz 3f\n",
            "tilezero tmm0\n",
            "tilezero tmm1\n",
            "jmp 2f\n",
            "3:\n",
            "tileloadd tmm0, [{sums} + {wide}]\n",
            "tileloadd tmm1, [{sums} + {wide} + 64]\n",
        )
    };
    (two) => {
        concat!(
            "test {fresh}, {fresh}\n",
            "jz 3f\n",
            "tilezero tmm0\n",
            "tilezero tmm1\n",
            "tilezero tmm2\n",
            "tilezero tmm3\n",
            "jmp 2f\n",
            "3:\n",
            "tileloadd tmm0, [{sums} + {wide}]\n",
            "tileloadd tmm1, [{sums} + {wide} + 64]\n",
            "tileloadd tmm2, [{sums} + {wide} + 2048]\n",
            "tileloadd tmm3, [{sums} + {wide} + 2112]\n",
        )
    };
}

/// The sums are kept.
macro_rules! end {
    (one) => {
        "tilestored [{sums} + {wide}], tmm0\ntilestored [{sums} + {wide} + 64], tmm1"
    };
    (two) => {
        concat!(
            end!(one),
            "\ntilestored [{sums} + {wide} + 2048], tmm2\n",
            "tilestored [{sums} + {wide} + 2112], tmm3",
        )
    };
}

macro_rules! step_1_1 {
    ($rows:ident) => {
        concat!(w!(0), x!($rows, "tdpbf16ps", "x0"))
    };
}

macro_rules! step_3_1 {
    ($rows:ident) => {
        concat!(
            w!(0),
            x!($rows, "tdpbf16ps", "x0"),
            x!($rows, "tdpbf16ps", "x1"),
            x!($rows, "tdpbf16ps", "x2")
        )
    };
}

macro_rules! step_3_2 {
    ($rows:ident) => {
        concat!(step_3_1!($rows), w!(1), x!($rows, "tdpbf16ps", "x0"), x!($rows, "tdpbf16ps", "x1"))
    };
}

macro_rules! step_3_3 {
    ($rows:ident) => {
        concat!(step_3_2!($rows), w!(2), x!($rows, "tdpbf16ps", "x0"))
    };
}

/// Takes the products of some steps of a tile and a panel, with one register of rows or two.
macro_rules! products {
    ($rows:ident, $step:ident, $x:literal, $w:literal, $tile:ident, $steps:ident, $at:ident) => {{
        let part = $tile.rows * STEP_UNITS;
        asm!(
            start!($rows),
            "2:",
            $step!($rows),
            "prefetcht1 [{ahead}]",
            "prefetcht1 [{ahead} + 64]",
            "add {ahead}, {line_pair}",
            "add {x0}, {x_step}",
            "add {x1}, {x_step}",
            "add {x2}, {x_step}",
            "add {w}, {w_step}",
            "dec {steps}",
            "jnz 2b",
            end!($rows),
            x0 = inout(reg) $at.x => _,
            x1 = inout(reg) $at.x.wrapping_add(part) => _,
            x2 = inout(reg) $at.x.wrapping_add(2 * part) => _,
            ahead = inout(reg) $at.ahead => _,
            line_pair = const 128,
            x_step = in(reg) $x * part * size_of::<u32>(),
            w = inout(reg) $at.w => _,
            w_step = const $w * 2048,
            steps = inout(reg) $steps => _,
            fresh = in(reg) usize::from($at.fresh),
            sums = in(reg) $at.sums,
            narrow = in(reg) 64usize,
            wide = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }};
}

/// Where some steps are, and where their sums go.
struct Steps {
    x: *const u32,
    w: *const u32,
    /// Activations of later steps, two lines for each step: all panels together send for all of the next block's.
    ahead: *const u32,
    sums: *mut Square,
    /// Whether the sums start with these steps.
    fresh: bool,
}

/// Defines a tile function whose steps are those of `$step`, the activations having `$x` parts, the weights `$w`.
macro_rules! tile {
    ($(#[$about:meta])* $name:ident, $x:literal, $w:literal, $step:ident) => {
        $(#[$about])*
        ///
        /// # Safety
        ///
        /// See [`TileFn`](super::super::super::microkernel::TileFn).
        #[target_feature(enable = "avx512f")]
        pub(super) unsafe fn $name(tile: &Tile) {
            /// Steps whose sums stay in registers. One part's activations stay in the first-level cache while the panels pass
            /// by; three parts are multiplied for so long that they may come from the second-level one.
            const NEAR: usize = if $x == 1 { 16 } else { BLOCK_COLUMNS / super::STEP };
            let mut sums = Squares::new();
            let all = tile.units / STEP_UNITS;
            let registers = Registers::new(tile.rows);
            // SAFETY: the caller promises so many units of rows and of panels, in so many parts; what is read of them and
            // written of the sums is what the registers are set up for.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const registers, options(nostack, readonly));
                for first in (0..all).step_by(NEAR) {
                    let (steps, last) = (NEAR.min(all - first), first + NEAR >= all);
                    let rows = first * tile.rows / all..(first + steps) * tile.rows / all;
                    for panel in 0..tile.panels {
                        prefetch(tile, panel, rows.clone());
                        // What is written at once needs one place for all.
                        let sums = sums.of(if all <= NEAR { 0 } else { panel });
                        let x = tile.x.add(first * $x * tile.rows * STEP_UNITS);
                        let at = Steps {
                            x,
                            ahead: x.wrapping_add(($x * tile.rows + 2 * panel) * steps * STEP_UNITS),
                            w: tile.w.add(panel * tile.panel_words + first * $w * STEP_UNITS * PANEL),
                            sums,
                            fresh: first == 0,
                        };
                        if tile.rows > 16 {
                            products!(two, $step, $x, $w, tile, steps, at);
                        } else {
                            products!(one, $step, $x, $w, tile, steps, at);
                        }
                        if last {
                            store(tile, panel, sums);
                        }
                    }
                }
                asm!("tilerelease", options(nostack, nomem));
                if all == 0 {
                    store_nothing(tile);
                }
            }
        }
    };
}

tile!(
    /// Products of bfloat16.
    one_by_one,
    1,
    1,
    step_1_1
);

tile!(
    /// Products of f32 and bfloat16.
    three_by_one,
    3,
    1,
    step_3_1
);

tile!(
    /// Products of f32 and f16.
    three_by_two,
    3,
    2,
    step_3_2
);

tile!(
    /// Products of f32.
    three_by_three,
    3,
    3,
    step_3_3
);
