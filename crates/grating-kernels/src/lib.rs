//! Matrix kernels of the CPU path.
//!
//! [`Kernels::linear`] computes `y = x · Wᵀ + bias` with `x` and `y` in f32 and `W` as the bytes of
//! a checkpoint: row-major `[out, in]`, little-endian, at any alignment, never converted as a whole.
//! [`Isa`] says with which instructions, [`Compute`] in which type the products are taken; sums are
//! always f32 (exact integers within a block for int8).
//!
//! # Determinism
//!
//! Within one [`Isa`] and one [`Compute`] an element of `y` depends on its row of `x` and its row of
//! `W` alone: never on the other rows of the call, their number, the number of threads, the stride of
//! the output or the alignment of the weights. Every element is the sum of its blocks of 1024 columns
//! of `W`, and a block is one chain of additions in the order of the columns, whatever the shape of
//! the tile it is computed in.
//!
//! # Example
//!
//! ```
//! use grating_kernels::{Activations, Compute, Format, Isa, Kernels, Matrix};
//!
//! // Two rows of three columns, stored as f32.
//! let stored: Vec<u8> = [1.0f32, 2.0, 3.0, 0.0, 1.0, 0.5].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let w = Matrix::new(Format::F32, 2, 3, &stored)?;
//! let kernels = Kernels::new(Isa::detect());
//! let mut x = Activations::default();
//! kernels.prepare(&[1.0, 1.0, 2.0], 1, 3, kernels.compute_for(w.format(), Compute::F32), &mut x);
//! let mut y = [0.0; 2];
//! kernels.linear(&x, &w, Some(&[0.0, 10.0]), &mut y, 2);
//! assert_eq!(y, [9.0, 12.0]);
//! # Ok::<(), grating_kernels::MatrixError>(())
//! ```

pub mod attention;
mod format;
mod isa;
mod linear;
mod math;
mod numbers;
mod quant;
pub mod rows;
mod simd;
#[cfg(test)]
mod test_numbers;

pub use format::{Format, Matrix, MatrixError};
pub use isa::{Isa, IsaError};
pub use linear::{Activations, Compute, Kernels, Map};
pub use numbers::Numbers;

/// The README's example is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
