//! A backend on NVIDIA GPUs, with weights streamed to the device.
//!
//! # Brief overview
//!
//! [`CudaBackend`] implements `Backend` and `Ops` of grating-backend over a [`Driver`]: memory, queues, events, kernels by
//! name. [`Nvidia`] is NVIDIA's driver, opened when it is asked for: nothing of CUDA is needed to build, and a machine
//! without a driver says so ([`DriverError::NoDriver`]). Tests have a second driver, which runs the same kernels on the
//! CPU and makes a missing wait a wrong result.
//!
//! Blocks of weights are read into page-locked memory and copied from there on a copy stream, others through two pieces of
//! it; kernels run on a compute stream, and events order the two ([`CudaSlot`]). Weights stay as they are stored and are
//! decoded on the way to the multiplier. Which products are taken of bf16, on tensor cores, is [`CudaOptions::precision`]'s
//! matter; hidden states and scores are f32, what lies between operations is bf16 where all that take it round it
//! ([`CudaTensor`]). Sums go over the same numbers in the same order however many rows there are, so scores do not depend
//! on chunks, windows or budgets.
//!
//! The kernels (`kernels/`) are CUDA C++; their PTX is embedded, made for compute capability 8.0 by `cargo xtask ptx`.
//!
//! # Example
//!
//! ```
//! use grating_cuda::{CudaBackend, CudaOptions, DriverError, Nvidia};
//!
//! match Nvidia::open(0) {
//!     Ok(device) => _ = CudaBackend::new(device, CudaOptions::default())?,
//!     Err(error) => println!("{error}: computing on the CPU"),
//! }
//! # Ok::<(), DriverError>(())
//! ```

mod arguments;
mod attention;
mod backend;
mod blocks;
mod driver;
mod error;
mod layout;
mod linear;
mod link;
mod memory;
mod nvidia;
mod ops;
mod slot;
mod staging;
mod tensor;
mod workspace;

pub use backend::{CudaBackend, CudaOptions};
pub use driver::{DevicePointer, Driver, Event, Kernel, Launch, Stream};
pub use error::{DriverError, Result};
pub use layout::CudaLayout;
pub use nvidia::{Nvidia, device_count};
pub use slot::{CudaSlot, CudaWeight};
pub use staging::Return;
pub use tensor::CudaTensor;
pub use workspace::workspace;
