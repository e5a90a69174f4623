//! Linear layers: `y = x · Wᵀ + bias`.
//!
//! `W` is cut into panels of a few output columns. A panel is packed, block of columns by block of
//! columns, into a layout in which a microkernel reads it in order; the packed block stays in the
//! cache while every row of `x` passes by. A microkernel keeps a tile of the output in registers.

mod activations;
mod generic;
mod microkernel;
mod plan;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::cell::RefCell;

use rayon::prelude::*;

pub use activations::Activations;
use microkernel::{Microkernel, Source, Tile, UnitBuffer};
use plan::{BLOCK_COLUMNS, Plan, Task};

use crate::format::{Format, Matrix};
use crate::isa::Isa;

/// In which type products are taken. Sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compute {
    /// Products of f32: weights are widened, nothing is lost.
    F32,
    /// Products of bfloat16, exact in f32: activations, and weights of other formats, are rounded
    /// to nearest even. Subnormal numbers count as zero.
    Bf16,
}

/// The kernels of one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    isa: Isa,
}

thread_local! {
    /// Packed weights of the block that this thread is at: 512 KiB at most.
    static PACKED: RefCell<UnitBuffer> = RefCell::default();
}

impl Kernels {
    /// Kernels for `isa`.
    ///
    /// # Panics
    ///
    /// If this machine lacks the instructions ([`Isa::is_supported`]).
    pub fn new(isa: Isa) -> Self {
        assert!(isa.is_supported(), "this machine has no {isa}: ask Isa::supported");
        Self { isa }
    }

    /// The instructions in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// In what products with weights of `format` are taken when the caller wants `wanted`: the
    /// same where the instructions exist, f32 otherwise.
    pub fn compute_for(&self, format: Format, wanted: Compute) -> Compute {
        match (wanted, format) {
            (Compute::Bf16, _) if self.isa < Isa::Avx512Bf16 => Compute::F32,
            (wanted, _) => wanted,
        }
    }

    /// Lays `x`, row-major `[rows, columns]`, out in `into` for [`Self::linear`] with products
    /// taken in `compute`. Several matrices can share the result; its memory is reused.
    ///
    /// # Panics
    ///
    /// If `x` is not `rows * columns` long, or these instructions have no such products
    /// ([`Self::compute_for`]).
    pub fn prepare(
        &self,
        x: &[f32],
        rows: usize,
        columns: usize,
        compute: Compute,
        into: &mut Activations,
    ) {
        assert_eq!(x.len(), rows * columns, "x is not {rows} x {columns}");
        into.pack(self.isa, compute, Microkernel::of(self.isa, compute), x, rows, columns);
    }

    /// `out[r, j] = Σ x[r, k] · w[j, k] + bias[j]` for every row of `x` and every row of `w`; row
    /// `r` of the output starts at `out[r * out_stride]`. What lies between the rows is left alone.
    /// Runs on the threads of the current rayon pool.
    ///
    /// # Panics
    ///
    /// If `x` was prepared by kernels of another [`Isa`], the columns of `x` and `w` differ, `bias`
    /// is not as long as `w` has rows, or `out` is too short.
    pub fn linear(
        &self,
        x: &Activations,
        w: &Matrix<'_>,
        bias: Option<&[f32]>,
        out: &mut [f32],
        out_stride: usize,
    ) {
        assert_eq!(x.isa(), self.isa, "activations were prepared for other instructions");
        assert_eq!(x.columns(), w.columns(), "activations and weights differ in columns");
        assert!(bias.is_none_or(|b| b.len() == w.rows()), "one bias for every row of the weights");
        if x.rows() == 0 || w.rows() == 0 {
            return;
        }
        assert!(out_stride >= w.rows(), "rows of the output overlap");
        assert!(out.len() >= (x.rows() - 1) * out_stride + w.rows(), "the output is too short");
        let micro = Microkernel::of(self.isa, x.compute());
        let call = Call { x, w, bias, micro, out: out.as_mut_ptr(), out_stride };
        let threads = rayon::current_num_threads();
        let plan = Plan::new(x.tiles(), w.rows().div_ceil(micro.panel), threads);
        if threads == 1 || plan.len() == 1 {
            (0..plan.len()).for_each(|i| call.run(plan.task(i)));
        } else {
            let tasks = (0..plan.len()).into_par_iter().with_max_len(1);
            tasks.for_each(|i| call.run(plan.task(i)));
        }
    }
}

/// One call of [`Kernels::linear`], its arguments checked.
struct Call<'a> {
    x: &'a Activations,
    w: &'a Matrix<'a>,
    bias: Option<&'a [f32]>,
    micro: &'static Microkernel,
    out: *mut f32,
    out_stride: usize,
}

// SAFETY: `out` is the caller's exclusive borrow, which outlives the call, and tasks write disjoint
// elements of it; everything else is shared and immutable.
unsafe impl Sync for Call<'_> {}

impl Call<'_> {
    fn run(&self, task: Task) {
        PACKED.with_borrow_mut(|packed| {
            let columns = self.w.columns();
            if columns == 0 {
                self.pass(&task, 0, 0, packed.units(0));
            }
            for k in (0..columns).step_by(BLOCK_COLUMNS) {
                let count = BLOCK_COLUMNS.min(columns - k);
                let panel_units = count.div_ceil(self.micro.group) * self.micro.panel;
                let units = packed.units(task.panels.len() * panel_units);
                for (panel, into) in task.panels.clone().zip(units.chunks_exact_mut(panel_units)) {
                    self.pack(panel, k, count, into);
                }
                self.pass(&task, k, count, units);
            }
        });
    }

    /// Packs columns `k..k + count` of the weights of one panel.
    fn pack(&self, panel: usize, k: usize, count: usize, into: &mut [u32]) {
        let (format, row_bytes) = (self.w.format(), self.w.row_bytes());
        let first = panel * self.micro.panel;
        let rows = self.micro.panel.min(self.w.rows() - first);
        let offset = first * row_bytes + k / format.block_elements() * format.block_bytes();
        let source = Source { bytes: &self.w.bytes()[offset..], stride: row_bytes, rows, count };
        self.micro.pack(format, &source, self.micro.panel, into);
    }

    /// Adds the products of columns `k..k + count`, whose weights are `packed`.
    fn pass(&self, task: &Task, k: usize, count: usize, packed: &[u32]) {
        let Microkernel { panel: width, group, .. } = *self.micro;
        let units = count.div_ceil(group);
        for tile in task.tiles.clone() {
            let (first, rows, x) = self.x.tile(tile, k / group, units);
            for (i, panel) in task.panels.clone().enumerate() {
                let column = panel * width;
                // SAFETY: `linear` checked that row `first + rows - 1` of `out` has `w.rows()`
                // elements, of which this tile takes those from `column` on.
                let out = unsafe { self.out.add(first * self.out_stride + column) };
                let (start, start_stride) = match self.bias {
                    _ if k > 0 => (out.cast_const(), self.out_stride),
                    Some(bias) => (bias[column..].as_ptr(), 0),
                    None => (std::ptr::null(), 0),
                };
                let tile = Tile {
                    x: x.as_ptr(),
                    w: packed[i * units * width..][..units * width].as_ptr(),
                    units,
                    start,
                    start_stride,
                    out,
                    out_stride: self.out_stride,
                    columns: width.min(self.w.rows() - column),
                };
                // SAFETY: `x` has `units * rows` units and `w` has `units * width`, as sliced
                // above; `out` and `start` have `rows` rows of `columns` elements, and no other
                // task writes them. `Kernels::new` checked the instructions.
                unsafe { self.micro.tiles[rows - 1](&tile) };
            }
        }
    }
}
