//! A CUDA device for tests, without a card.
//!
//! [`Emulated`] is a `Driver` of grating-cuda that runs the same kernels, compiled as C++: blocks one after the other,
//! threads as fibers, with barriers, shuffles and matrix products of warps (`cpp/`). What a block shares and what is
//! allocated is filled with NaN. Queues run only when somebody waits, or in a perverse [`Order`]: who forgets an event gets
//! a wrong result, every time. Memory is counted against a budget, bounds are checked at copies and by guards around each
//! allocation, and any kind of call can be made to [fail](Emulated::fail).
#![cfg(emulated)]

mod device;
mod memory;
mod queues;

pub use device::{Call, Counted, Emulated};
pub use queues::Order;
