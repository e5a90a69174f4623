//! Linear layers: `y = x · Wᵀ + bias`.
//!
//! `W` is cut into panels of a few output columns. A panel is packed, block of columns by block of
//! columns, into a layout in which a microkernel reads it in order; the packed block stays in the
//! cache while every row of `x` passes by. A microkernel keeps a tile of the output in registers.

mod activated;
mod activations;
mod call;
mod generic;
mod microkernel;
mod outliers;
mod pack;
mod products;
mod scratch;
mod tasks;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;

use activated::Activated;
pub use activations::Activations;
use call::{Call, Output};
use microkernel::{Microkernel, Order};
pub(crate) use products::{Part, Products};
use tasks::Tasks;

use crate::format::{Format, Matrix};
use crate::isa::Isa;
use crate::rows::Activation;

/// In which type products are taken. Sums are f32, of int8 products exact integers first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compute {
    /// Products of f32: weights are widened, nothing is lost.
    F32,
    /// Products of f32, of which inputs and weights count as multiples of a 2²³rd of the largest of up to 512 of a row. A few of
    /// these that are far beyond the others are taken out and multiplied by themselves. That is as near as sums of f32 are, but
    /// where there are many of them.
    Digits,
    /// Products of bfloat16, exact in f32: activations, and weights of other formats, are rounded
    /// to nearest even. Subnormal numbers count as zero.
    Bf16,
    /// Products of bytes with a scale for every 128 elements of a row. Of weights the largest
    /// magnitude of 128 becomes 127 steps, those in block formats being decoded first; activations
    /// are cut into 255 steps from the least of 128 (or 0) to the largest (or 0). The result is the
    /// same with all instructions but those of [`Isa::Avx2`], which add two products up in 16 bits:
    /// there the largest sum of the magnitudes of two neighbours becomes 127 steps.
    Int8,
}

/// A matrix and what is added to the products with it.
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// `[out, in]`
    pub matrix: &'a Matrix<'a>,
    /// `[out]`
    pub bias: Option<&'a [f32]>,
}

/// The kernels of one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    isa: Isa,
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

    /// In what products with weights of `_format`, which so far does not matter, are taken when
    /// the caller allows `wanted`: the same, or f32, which loses nothing, where `wanted` has no
    /// instructions that would make it faster. Integers are so without VNNI in [`Isa::Avx512`],
    /// whose f32 is twice as wide; in [`Isa::Avx2`] they are ahead. [`Isa::Amx`] multiplies bfloat16 as fast as integers
    /// with scales, and nearer to f32, so integers become bfloat16.
    pub fn compute_for(&self, _format: Format, wanted: Compute) -> Compute {
        match wanted {
            Compute::Bf16 if self.isa < Isa::Avx512Bf16 => Compute::F32,
            Compute::Int8 if self.isa == Isa::Amx => Compute::Bf16,
            Compute::Int8 if matches!(self.isa, Isa::Portable | Isa::Avx512) => Compute::F32,
            Compute::Digits if self.isa != Isa::Amx => Compute::F32,
            _ => wanted,
        }
    }

    /// In what products of queries and keys, and of attention and values, are taken when the caller allows `wanted`.
    pub fn attention_compute(&self, wanted: Compute) -> Compute {
        match wanted {
            Compute::F32 | Compute::Digits => Compute::F32,
            _ => Products::of(self.isa).map_or(Compute::F32, |_| Compute::Bf16),
        }
    }

    /// Products in `compute` as reports call them. What has the same name differs by no more than rounding in f32.
    pub fn name_of(&self, compute: Compute) -> &'static str {
        match (compute, self.isa) {
            (Compute::F32 | Compute::Digits, _) => "f32",
            (Compute::Bf16, _) => "bf16",
            (Compute::Int8, Isa::Avx2 | Isa::Avx512) => "int8 in 16-bit sums",
            (Compute::Int8, _) => "int8",
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
        into.pack(self.isa, compute, x, rows, columns);
    }

    /// Most bytes that [`Self::prepare`] takes for a row of so many columns, whatever products are taken in.
    pub fn prepared_bytes(&self, columns: usize) -> usize {
        let bytes = |compute| self.row_bytes(columns, compute);
        self.computes().map(bytes).max().unwrap_or(0)
    }

    /// Bytes that [`Self::prepare`] takes for a row of so many columns.
    ///
    /// # Panics
    ///
    /// If these instructions have no such products ([`Self::compute_for`]).
    pub fn row_bytes(&self, columns: usize, compute: Compute) -> usize {
        Activations::row_bytes(self.isa, compute, columns)
    }

    /// Most bytes that each thread keeps for layers with so many columns of input, whatever their weights, and for
    /// [`Self::linear_activated`] with a gate or without.
    pub fn scratch_bytes(&self, columns: usize, gated: bool) -> usize {
        let mut most = [0; 3];
        for compute in self.computes() {
            let micro = Microkernel::of(self.isa, compute, Format::F32);
            let parts = activated::scratch_bytes(micro, columns, gated);
            most.iter_mut().zip(parts).for_each(|(most, part)| *most = part.max(*most));
        }
        // Large ones take whole pages.
        most.iter().map(|bytes| bytes.next_multiple_of(4096)).sum()
    }

    fn computes(&self) -> impl Iterator<Item = Compute> {
        // What is a format's matters to the weights alone.
        let all = [Compute::F32, Compute::Digits, Compute::Bf16, Compute::Int8].into_iter();
        all.map(|wanted| self.compute_for(Format::F32, wanted))
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
        self.run(x, Map { matrix: w, bias }, false, out, out_stride);
    }

    /// [`Self::linear`] of several matrices, each with an output without gaps. Whoever is done with one goes on to the next.
    ///
    /// # Panics
    ///
    /// As [`Self::linear`].
    pub fn linear_each(&self, x: &Activations, layers: &mut [(Map<'_>, &mut [f32])]) {
        let layers: Vec<Layer<'_>> = layers
            .iter_mut()
            .filter_map(|(map, out)| Layer::new(self, x, *map, false, out, map.matrix.rows()))
            .collect();
        let len = layers.iter().map(|layer| layer.tasks.len()).sum();
        share_out(len, |mut i| {
            for layer in &layers {
                if i < layer.tasks.len() {
                    return layer.run(i);
                }
                i -= layer.tasks.len();
            }
        });
    }

    /// As [`Self::linear`], added to what `out` holds: `out[r, j] += Σ x[r, k] · w[j, k] + bias[j]`.
    ///
    /// # Panics
    ///
    /// As [`Self::linear`].
    pub fn linear_add(
        &self,
        x: &Activations,
        w: &Matrix<'_>,
        bias: Option<&[f32]>,
        out: &mut [f32],
        out_stride: usize,
    ) {
        self.run(x, Map { matrix: w, bias }, true, out, out_stride);
    }

    fn run(
        &self,
        x: &Activations,
        map: Map<'_>,
        accumulate: bool,
        out: &mut [f32],
        out_stride: usize,
    ) {
        if let Some(layer) = Layer::new(self, x, map, accumulate, out, out_stride) {
            share_out(layer.tasks.len(), |i| layer.run(i));
        }
    }

    /// `activation(x · wᵀ + bias)`, for a `gate` times `activation(x · gateᵀ + bias)` instead of the activation, laid out in
    /// `into` as [`Self::prepare`] would. It is what [`Self::linear`], [`rows::activate`](crate::rows::activate) or
    /// [`rows::gate`](crate::rows::gate) and [`Self::prepare`] give one after the other, to the bit, but that the outcome
    /// never lies in memory in f32.
    ///
    /// # Panics
    ///
    /// As [`Self::linear`], and if the gate is not as large as `map`'s matrix.
    pub fn linear_activated(
        &self,
        x: &Activations,
        map: Map<'_>,
        gate: Option<Map<'_>>,
        activation: Activation,
        into: &mut Activations,
    ) {
        self.check(x, map);
        let (rows, columns) = (x.rows(), map.matrix.rows());
        if let Some(gate) = gate {
            self.check(x, gate);
            assert_eq!(gate.matrix.rows(), columns, "gate and map differ in rows");
        }
        let target = into.target(self.isa, x.compute(), rows, columns);
        if rows == 0 || columns == 0 {
            return;
        }
        let gate = gate.map(|gate| Call::new(x, gate));
        let activated = Activated::new(Call::new(x, map), gate, activation, target);
        let tasks = activated.tasks(rayon::current_num_threads());
        share_out(tasks.len(), |i| activated.run(&tasks.task(i)));
    }

    fn check(&self, x: &Activations, Map { matrix, bias }: Map<'_>) {
        assert_eq!(x.isa(), self.isa, "activations were prepared for other instructions");
        assert_eq!(x.columns(), matrix.columns(), "activations and weights differ in columns");
        let rows = matrix.rows();
        assert!(bias.is_none_or(|b| b.len() == rows), "one bias for every row of the weights");
    }
}

/// A linear layer, its output and how it is split.
struct Layer<'a> {
    call: Call<'a>,
    out: Output,
    tasks: Tasks,
}

impl<'a> Layer<'a> {
    /// Checks the arguments of [`Kernels::linear`]; nothing where there is nothing to write. `out` must outlive the layer.
    fn new(
        kernels: &Kernels,
        x: &'a Activations,
        map: Map<'a>,
        accumulate: bool,
        out: &mut [f32],
        out_stride: usize,
    ) -> Option<Self> {
        kernels.check(x, map);
        let w = map.matrix;
        if x.rows() == 0 || w.rows() == 0 {
            return None;
        }
        assert!(out_stride >= w.rows(), "rows of the output overlap");
        assert!(out.len() >= (x.rows() - 1) * out_stride + w.rows(), "the output is too short");
        let call = Call::new(x, map);
        let out = Output { first: out.as_mut_ptr(), stride: out_stride, accumulate };
        let plan = match call.micro.order {
            Order::Panel => Tasks::new,
            Order::Tile => Tasks::even,
        };
        let panels = w.rows().div_ceil(call.micro.panel);
        let threads = rayon::current_num_threads();
        let tasks = plan(x.tiles(), panels, call.micro.panels(w.columns()), threads);
        Some(Self { call, out, tasks })
    }

    fn run(&self, i: usize) {
        self.call.run(&self.tasks.task(i), self.out);
    }
}

/// Runs so many tasks on the threads of the current rayon pool, in order: whoever is free takes the next.
fn share_out(len: usize, run: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(i) = Some(next.fetch_add(1, Relaxed)).filter(|&i| i < len) {
            run(i);
        }
    };
    match rayon::current_num_threads().min(len) {
        0 | 1 => work(),
        workers => (0..workers).into_par_iter().with_max_len(1).for_each(|_| work()),
    }
}
