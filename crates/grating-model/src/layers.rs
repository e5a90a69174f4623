//! The blocks of layers, bound to weights: equations over `grating_backend::Ops`, no device, no I/O. Which norms, maps and
//! embeddings a block has is its spec's to say.

mod attention;
mod distance;
mod feed_forward;
pub(crate) mod linear;
pub(crate) mod norm;

pub use attention::{Attention, Mass, Paid, PaidBy};
pub use feed_forward::FeedForward;
