//! Medians with spread.

use serde::{Deserialize, Serialize};

/// Several runs of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    /// Smallest and largest run.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) runs: usize,
}

impl Summary {
    /// `None` without runs.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&low, &high) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Self { median, low, high, runs: values.len() })
    }

    /// Of several queries' runs, the median of their medians: a query that ran more often counts no more than the others.
    pub(super) fn of_queries(queries: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let queries: Vec<Self> = queries.into_iter().flatten().collect();
        let middle = Self::of(queries.iter().map(|query| query.median))?;
        let low = queries.iter().map(|query| query.low).fold(f64::INFINITY, f64::min);
        let high = queries.iter().map(|query| query.high).fold(f64::NEG_INFINITY, f64::max);
        let runs = queries.iter().map(|query| query.runs).sum();
        Some(Self { low, high, runs, ..middle })
    }
}

/// Mean of what is there.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(s, n), value| (s + value, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Change against a baseline, in percent: -80 is a fifth of it.
pub(super) fn change_percent(value: f64, baseline: f64) -> f64 {
    (value / baseline - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        let odd = Summary::of([3.0, 1.0, 10.0]).unwrap();
        assert_eq!((odd.median, odd.low, odd.high, odd.runs), (3.0, 1.0, 10.0, 3));
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of([]), None);
        let queries = [Summary::of([1.0, 1.0, 1.5]), None, Summary::of([8.0]), Summary::of([4.0])];
        let all = Summary::of_queries(queries).unwrap();
        assert_eq!((all.median, all.low, all.high, all.runs), (4.0, 1.0, 8.0, 5));
        assert_eq!(Summary::of_queries([None]), None);
        assert_eq!(mean([1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(mean([]), None);
        assert!((change_percent(2.0, 10.0) + 80.0).abs() < 1e-12);
    }
}
