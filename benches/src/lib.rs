//! Shared shapes and harness of the benches.
