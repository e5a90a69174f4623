//! The server as clients see it: over sockets of this machine.
#![allow(clippy::unwrap_used)] // a failed test should panic

mod client;
mod errors;
mod hint;
mod limits;
mod metrics;
mod openapi;
mod progress;
mod queue;
mod running;
mod shapes;
mod stop;
