//! The dynamic program against brute force and against its own plain form.

use grating_prune::{Partitions, kmeans};
use proptest::prelude::*;

/// Sum of squared distances to the mean.
fn scatter(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|v| (v - mean).powi(2)).sum()
}

/// The least cost over all assignments of values to at most `k` clusters, intervals or not.
fn brute_force(values: &[f64], k: usize) -> f64 {
    let mut best = f64::INFINITY;
    for code in 0..k.pow(values.len() as u32) {
        let label = |i: usize| code / k.pow(i as u32) % k;
        let cost = (0..k)
            .map(|c| {
                let members: Vec<f64> =
                    (0..values.len()).filter(|&i| label(i) == c).map(|i| values[i]).collect();
                if members.is_empty() { 0.0 } else { scatter(&members) }
            })
            .sum();
        best = f64::min(best, cost);
    }
    best
}

/// The plain quadratic program: least cost of exactly `k` intervals.
fn quadratic(values: &[f64], k: usize) -> f64 {
    let n = values.len();
    let mut costs: Vec<f64> = (0..n).map(|i| scatter(&values[..=i])).collect();
    for c in 1..k {
        costs = (0..n)
            .map(|i| {
                (c..=i)
                    .map(|start| costs[start - 1] + scatter(&values[start..=i]))
                    .fold(f64::INFINITY, f64::min)
            })
            .collect();
    }
    costs[n - 1]
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

fn values(most: usize) -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![-5.0..5.0_f64, (-3..3_i8).prop_map(f64::from)];
    prop::collection::vec(value, 1..=most).prop_map(sorted)
}

proptest! {
    #[test]
    fn optimal_among_all_assignments(values in values(8), k in 1..4_usize) {
        let clusters = kmeans(&values, k).unwrap();
        let best = brute_force(&values, k);
        prop_assert!((clusters.within - best).abs() <= 1e-9, "{} {best}", clusters.within);
        // The clusters returned are the ones that cost this.
        let cost: f64 = clusters.ranges().map(|r| scatter(&values[r])).sum();
        prop_assert!((cost - best).abs() <= 1e-9);
        for (range, &center) in clusters.ranges().zip(&clusters.centers) {
            let mean = values[range.clone()].iter().sum::<f64>() / range.len() as f64;
            prop_assert!((mean - center).abs() <= 1e-12);
        }
    }

    #[test]
    fn ties_are_never_split(values in values(40), k in 1..8_usize) {
        let clusters = kmeans(&values, k).unwrap();
        prop_assert_eq!(clusters.ends.last(), Some(&values.len()));
        for &end in &clusters.ends[..clusters.len() - 1] {
            prop_assert!(values[end - 1] > values[end]);
        }
        prop_assert!(clusters.centers.windows(2).all(|w| w[0] > w[1]));
    }

    #[test]
    fn divide_and_conquer_equals_the_quadratic_program(
        values in prop::collection::vec(-100.0..100.0_f64, 60..120).prop_map(sorted),
    ) {
        let partitions = Partitions::new(&values, 6).unwrap();
        for k in 1..=partitions.max_clusters() {
            let (found, best) = (partitions.within(k), quadratic(&values, k));
            // Prefix sums lose about 1e-13 of the total scatter.
            prop_assert!((found - best).abs() <= 1e-11 * scatter(&values), "{k}: {found} {best}");
        }
        prop_assert!((2..=6).all(|k| partitions.within(k) <= partitions.within(k - 1)));
    }

    /// Offsets and units do not change the clusters (powers of two keep the arithmetic exact).
    #[test]
    fn scale_and_offset_free(ticks in prop::collection::vec(-64..64_i8, 2..30), k in 1..5_usize) {
        let base = sorted(ticks.iter().map(|&t| f64::from(t)).collect());
        let moved: Vec<f64> = base.iter().map(|v| v * 0.125 + 1024.0).collect();
        prop_assert_eq!(kmeans(&base, k).unwrap().ends, kmeans(&moved, k).unwrap().ends);
    }
}
