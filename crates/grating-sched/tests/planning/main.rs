//! Plans through the public interface: real model shapes, invariants over random ones.

mod device;
mod invariants;
mod shapes;
mod support;
