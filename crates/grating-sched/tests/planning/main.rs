//! Plans through the public interface: real model shapes, invariants over random ones.

mod invariants;
mod shapes;
mod support;
