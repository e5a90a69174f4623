//! Any bytes as the index of two good shards: refused with an error, or it agrees with them.
#![no_main]

#[allow(dead_code)] // Each target uses one of the entry points.
#[path = "../../tests/it/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    invariants::index(data);
});
