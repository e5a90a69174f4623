//! Inputs of the unit tests.

/// Numbers between -2 and 2 that look random and are the same every time.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            ((i + seed * 977).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect()
}
