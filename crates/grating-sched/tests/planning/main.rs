//! Plans through the public interface: real model shapes, invariants over random ones, the cost model's laws.

mod invariants;
mod prediction;
mod shapes;
mod support;
