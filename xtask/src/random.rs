//! A small seeded generator, so that workloads are the same on every machine.

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The bias is end / 2^64: nothing for workloads.
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Standard normal to within the eye: the sum of twelve uniform numbers.
    pub(crate) fn normal(&mut self) -> f64 {
        let uniform = |bits: u64| bits as f64 / 2.0_f64.powi(64);
        (0..12).map(|_| uniform(self.next())).sum::<f64>() - 6.0
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_every_place_is_reached() {
        let drawn = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!((0..7).all(|n| drawn(1).iter().filter(|&&d| d == n).count() > 100));
        let mut random = Random::new(5);
        let values: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let moment = |power| values.iter().map(|v| v.powi(power)).sum::<f64>() / 10_000.0;
        assert!(moment(1).abs() < 0.05 && (moment(2) - 1.0).abs() < 0.05);
        let mut items: Vec<usize> = (0..50).collect();
        Random::new(3).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
