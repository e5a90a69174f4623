//! The CPU backend: the operations of `grating-backend` on weights as they lie in the window.
//!
//! Matrices keep their stored type; a linear layer reads them where they are ([`grating_kernels`]), and a slot is the
//! host's block itself. Activations are f32 in buffers of an arena and go back to it when they are dropped, so that a
//! layer allocates nothing that the one before it did not need too. Every operation shares its work out over the threads
//! of a rayon pool, and no bit of a result depends on how many there are or on what else is in the chunk.
//!
//! ```
//! use grating_backend::{Backend, Precision};
//! use grating_cpu::{CpuOps, Isa};
//!
//! let cpu = CpuOps::new(Isa::detect(), Precision::Exact);
//! assert!(cpu.caps().shares_host_memory);
//! ```
#![deny(unsafe_code)]

mod arena;
mod awake;
mod backend;
mod clock;
mod ops;
mod prepared;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use grating_backend::{Format, Precision};
use grating_kernels::{Compute, Kernels, Matrix};
pub use grating_kernels::{Isa, IsaError};
use rayon::ThreadPool;

use arena::{Arena, Buffer};
pub use backend::CpuLayout;
use clock::Clock;
use prepared::{Prepared, Spare};

/// Tensor operations of the CPU path.
#[derive(Debug)]
pub struct CpuOps {
    kernels: Kernels,
    precision: Precision,
    /// Where it computes; the caller's own pool where there is none.
    threads: Option<Arc<ThreadPool>>,
    arena: Arc<Arena>,
    /// Most rows of a tensor since the last trim.
    most_rows: AtomicUsize,
    inputs: Arc<Spare>,
    outcomes: Arc<Spare>,
    clock: Clock,
}

/// An activation tensor, f32 `[rows, columns]`.
#[derive(Debug)]
pub struct CpuTensor {
    data: Data,
    rows: usize,
    columns: usize,
}

#[derive(Debug)]
enum Data {
    /// Row-major.
    Numbers(Buffer),
    /// As linear layers take it: the outcome of an operation that nothing else takes.
    Prepared(Prepared),
}

/// A weight: the bytes of the window, or, for vectors, their elements.
#[derive(Debug)]
pub enum CpuWeight<'w> {
    /// `[n]`
    Vector(Vec<f32>),
    /// `[out, in]`, in what its products are taken, and in what those are that the outcome alone takes part in, where that
    /// is known.
    Matrix(Matrix<'w>, Compute, Option<Compute>),
}

impl CpuOps {
    /// With the given instructions and precision.
    ///
    /// # Panics
    /// If this machine lacks the instructions ([`Isa::is_supported`]).
    pub fn new(isa: Isa, precision: Precision) -> Self {
        CpuOps {
            kernels: Kernels::new(isa),
            precision,
            threads: None,
            arena: Arc::default(),
            most_rows: AtomicUsize::new(0),
            inputs: Arc::default(),
            outcomes: Arc::default(),
            clock: Clock::default(),
        }
    }

    /// Computing in the threads of `pool`.
    #[must_use]
    pub fn with_threads(mut self, pool: Arc<ThreadPool>) -> Self {
        self.threads = Some(pool);
        self
    }

    /// In which types products with matrices of such formats, and those of attention, are taken: `f32` for instance, or
    /// `f32, int8`. It depends on precision, instructions and the formats; scores of two machines where it is the same
    /// differ by no more than rounding in f32.
    pub fn products(&self, formats: impl IntoIterator<Item = Format>) -> String {
        let compute = |format| self.compute(format, self.precision);
        let kinds = formats.into_iter().map(|format| self.kernels.name_of(compute(format)));
        let rounded = self.attention_compute() != Compute::F32;
        let attention = rounded.then_some("bf16 in attention");
        Vec::from_iter(BTreeSet::from_iter(kinds.chain(attention))).join(", ")
    }

    fn compute(&self, format: Format, precision: Precision) -> Compute {
        let wanted = match (precision, format) {
            (Precision::Fast, _) => Compute::Int8,
            (Precision::Exact, Format::Bf16) => Compute::Bf16,
            (Precision::Exact, _) => Compute::Digits,
            (Precision::Full, _) => Compute::F32,
        };
        self.kernels.compute_for(format, wanted)
    }

    /// In what products of attention are taken.
    fn attention_compute(&self) -> Compute {
        match self.precision {
            Precision::Fast => self.kernels.attention_compute(Compute::Int8),
            _ => Compute::F32,
        }
    }

    /// A tensor to be written; what it holds is unspecified.
    fn scratch(&self, rows: usize, columns: usize) -> CpuTensor {
        // Chunks differ in their rows; what the largest fits in does for all that are not far smaller.
        let most = self.most_rows.fetch_max(rows, Ordering::Relaxed).max(rows);
        let room = if 2 * rows >= most { most } else { rows };
        let data = Data::Numbers(self.arena.take(rows * columns, room * columns));
        CpuTensor { data, rows, columns }
    }
}

impl CpuTensor {
    /// The elements, row-major.
    ///
    /// # Panics
    /// If this is what [`Ops::linear_activated`](grating_backend::Ops::linear_activated) made for products alone.
    pub fn as_slice(&self) -> &[f32] {
        match &self.data {
            Data::Numbers(numbers) => numbers,
            Data::Prepared(_) => panic!("{FOR_PRODUCTS}"),
        }
    }

    /// The elements, row-major.
    ///
    /// # Panics
    /// As [`Self::as_slice`].
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match &mut self.data {
            Data::Numbers(numbers) => numbers,
            Data::Prepared(_) => panic!("{FOR_PRODUCTS}"),
        }
    }
}

const FOR_PRODUCTS: &str = "its weight says that the outcome is multiplied and nothing else";

impl CpuWeight<'_> {
    fn vector(&self) -> &[f32] {
        match self {
            CpuWeight::Vector(elements) => elements,
            CpuWeight::Matrix(..) => unreachable!("models use norms and biases as vectors"),
        }
    }

    /// In what products with this matrix are taken, where the outcome goes into such products alone.
    fn goes_on_in(&self) -> Option<Compute> {
        match self {
            CpuWeight::Matrix(_, compute, then) if *then == Some(*compute) => *then,
            _ => None,
        }
    }

    fn matrix(&self) -> (&Matrix<'_>, Compute) {
        match self {
            CpuWeight::Matrix(matrix, compute, _) => (matrix, *compute),
            CpuWeight::Vector(_) => unreachable!("models use matrices as matrices"),
        }
    }
}

/// The README's example is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
