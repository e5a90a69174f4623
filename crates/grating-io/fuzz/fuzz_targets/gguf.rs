//! Any bytes after the first ones of a GGUF file: refused with an error, or every range lies within it.
#![no_main]

#[allow(dead_code)] // Each target uses one of the entry points.
#[path = "../../tests/it/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    invariants::gguf(data);
});
