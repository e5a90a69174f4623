//! Exact 1-D k-means by dynamic programming.
//!
//! In one dimension the clusters of an optimal k-means solution are intervals of the sorted values, so
//! the optimum is found by dynamic programming over where the last cluster starts: H. Wang and
//! M. Song, "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic Programming",
//! The R Journal 3/2 (2011). The best start never moves back when values are added (the within-cluster
//! cost has the concave Monge property), so each row of the table is filled by divide and conquer:
//! O(k n log n) in all.
//! No seeds and no iterations: the same values give the same clusters, to the bit.
//!
//! Equal values are one point with a weight and cannot be split. An optimum with that property always
//! exists, because a split pair of equal values would be equally near to two different centres.

use std::ops::Range;

use crate::error::PruneError;

/// A partition of values sorted best first (descending) into clusters of neighbours.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Clusters {
    /// Where each cluster ends (exclusive), best cluster first; the last is the number of values.
    pub ends: Vec<usize>,
    /// Mean of each cluster, descending.
    pub centers: Vec<f64>,
    /// Sum of squared distances to the own cluster's centre.
    pub within: f64,
}

impl Clusters {
    /// The index ranges of the clusters, best first.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end)
    }

    /// Number of clusters.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there were no values.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Optimal clusters of values sorted best first (descending).
///
/// There are `clusters` of them, or as many as there are distinct values when that is less. Among
/// equally good partitions the one that starts its worst cluster earliest is taken, and so on upwards.
///
/// # Errors
/// [`PruneError::Unsorted`] when a value is larger than its predecessor or no finite number;
/// [`PruneError::InvalidPolicy`] for 0 clusters.
///
/// ```
/// let clusters = grating_prune::kmeans(&[0.9, 0.8, 0.3, 0.2, 0.1], 2)?;
/// assert_eq!(clusters.ends, [2, 5]);
/// # Ok::<(), grating_prune::PruneError>(())
/// ```
pub fn kmeans(sorted: &[f64], clusters: usize) -> Result<Clusters, PruneError> {
    let partitions = Partitions::new(sorted, clusters)?;
    Ok(partitions.clusters(partitions.max_clusters()))
}

/// Every distinct value as a cluster of its own, in linear time.
pub(crate) fn singletons(sorted: &[f64]) -> Result<Clusters, PruneError> {
    let Points { values, ends, .. } = Points::new(sorted)?;
    Ok(Clusters { ends, centers: values, within: 0.0 })
}

/// The optimal partitions of the same values into 1, 2, ... clusters, from one run of the program.
#[derive(Debug, Clone)]
pub struct Partitions {
    points: Points,
    /// `starts[c][i]`: where the last of `c + 1` optimal clusters of the points `..=i` starts.
    starts: Vec<Vec<usize>>,
    /// `within[c]`: cost of `c + 1` optimal clusters of all points.
    within: Vec<f64>,
}

impl Partitions {
    /// Solves for up to `max_clusters` clusters of values sorted best first.
    ///
    /// # Errors
    /// As [`kmeans`].
    pub fn new(sorted: &[f64], max_clusters: usize) -> Result<Self, PruneError> {
        if max_clusters == 0 {
            return Err(PruneError::InvalidPolicy {
                setting: "clusters",
                found: "0".to_owned(),
                expected: "at least 1",
            });
        }
        let points = Points::new(sorted)?;
        let n = points.values.len();
        let mut starts = Vec::new();
        let mut within = Vec::new();
        if n > 0 {
            let mut costs: Vec<f64> = (0..n).map(|i| points.cost(0, i)).collect();
            starts.push(vec![0; n]);
            within.push(costs[n - 1]);
            for c in 1..max_clusters.min(n) {
                let mut row = Row::new(&points, &costs, c);
                row.fill(c..n, c, n - 1);
                let Row { costs: row_costs, starts: row_starts, .. } = row;
                within.push(row_costs[n - 1]);
                costs = row_costs;
                starts.push(row_starts);
            }
        }
        Ok(Self { points, starts, within })
    }

    /// The most clusters solved for: the number asked for, or of distinct values when that is less.
    pub fn max_clusters(&self) -> usize {
        self.starts.len()
    }

    /// Sum of squared distances to the own centre, with `count` clusters.
    ///
    /// # Panics
    /// When `count` is not in `1..=max_clusters()`.
    pub fn within(&self, count: usize) -> f64 {
        self.within[count - 1]
    }

    /// The optimal partition into `count` clusters (0 only when there are no values).
    ///
    /// # Panics
    /// When `count` is larger than [`max_clusters`](Self::max_clusters), or 0 though there are values.
    pub fn clusters(&self, count: usize) -> Clusters {
        assert!(count <= self.max_clusters(), "{count} clusters were not solved for");
        assert!(count > 0 || self.starts.is_empty(), "values need at least one cluster");
        let mut clusters = Clusters { ends: Vec::new(), centers: Vec::new(), within: 0.0 };
        // From the worst cluster to the best: each start says where the prefix ends that the clusters before it share.
        let mut end = self.points.values.len();
        for c in (0..count).rev() {
            let start = self.starts[c][end - 1];
            clusters.ends.push(self.points.ends[end - 1]);
            clusters.centers.push(self.points.mean(start, end - 1));
            end = start;
        }
        clusters.ends.reverse();
        clusters.centers.reverse();
        clusters.within = if count == 0 { 0.0 } else { self.within(count) };
        clusters
    }
}

/// Distinct values, descending, with weights and prefix sums.
#[derive(Debug, Clone)]
struct Points {
    values: Vec<f64>,
    /// Where the values equal to this point end, as an index into the caller's slice.
    ends: Vec<usize>,
    /// Subtracted before summing, so that the sums of squares keep their digits.
    origin: f64,
    /// Prefix sums of weight, of weight × (value - origin) and of weight × (value - origin)².
    sums: Vec<[f64; 3]>,
}

impl Points {
    fn new(sorted: &[f64]) -> Result<Self, PruneError> {
        let (mut values, mut ends) = (Vec::<f64>::new(), Vec::new());
        for (i, &v) in sorted.iter().enumerate() {
            match values.last() {
                _ if !v.is_finite() => return Err(PruneError::Unsorted { index: i }),
                Some(&last) if v > last => return Err(PruneError::Unsorted { index: i }),
                Some(&last) if v == last => *ends.last_mut().expect("one end a value") = i + 1,
                _ => {
                    values.push(v);
                    ends.push(i + 1);
                }
            }
        }
        let origin = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let mut sums = vec![[0.0; 3]];
        let mut total = [0.0; 3];
        let mut start = 0;
        for (&v, &end) in values.iter().zip(&ends) {
            let (w, d) = ((end - start) as f64, v - origin);
            for (sum, term) in total.iter_mut().zip([w, w * d, w * d * d]) {
                *sum += term;
            }
            sums.push(total);
            start = end;
        }
        Ok(Self { values, ends, origin, sums })
    }

    fn sum(&self, first: usize, last: usize) -> [f64; 3] {
        std::array::from_fn(|k| self.sums[last + 1][k] - self.sums[first][k])
    }

    /// Within-cluster sum of squares of the points `first..=last`.
    fn cost(&self, first: usize, last: usize) -> f64 {
        if first == last {
            return 0.0;
        }
        let [w, s, q] = self.sum(first, last);
        (q - s * s / w).max(0.0)
    }

    fn mean(&self, first: usize, last: usize) -> f64 {
        if first == last {
            return self.values[first];
        }
        let [w, s, _] = self.sum(first, last);
        self.origin + s / w
    }
}

/// One row of the table: the best partition of every prefix into one cluster more than the row before.
struct Row<'a> {
    points: &'a Points,
    before: &'a [f64],
    costs: Vec<f64>,
    starts: Vec<usize>,
}

impl<'a> Row<'a> {
    fn new(points: &'a Points, before: &'a [f64], clusters_before: usize) -> Self {
        let n = before.len();
        // A prefix shorter than the number of clusters has no such partition and is never asked for: `fill` begins with
        // the prefix that ends in point `clusters_before`.
        let mut costs = vec![f64::INFINITY; n];
        costs[..clusters_before].fill(0.0);
        Self { points, before, costs, starts: vec![0; n] }
    }

    /// Fills the prefixes that end in `ends`, whose best starts lie in `lowest..=highest`.
    fn fill(&mut self, ends: Range<usize>, lowest: usize, highest: usize) {
        if ends.is_empty() {
            return;
        }
        // The middle prefix first: its best start bounds those of the shorter prefixes from above and of the longer ones
        // from below, so that each level of the recursion looks at every start about once.
        let end = ends.start + (ends.len() - 1) / 2;
        let (mut best, mut best_start) = (f64::INFINITY, lowest);
        for start in lowest..=highest.min(end) {
            let cost = self.before[start - 1] + self.points.cost(start, end);
            // Strictly less: of equally good starts the earliest is kept, on every path through the recursion.
            if cost < best {
                (best, best_start) = (cost, start);
            }
        }
        self.costs[end] = best;
        self.starts[end] = best_start;
        self.fill(ends.start..end, lowest, best_start);
        self.fill(end + 1..ends.end, best_start, highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obvious_clusters() {
        let c = kmeans(&[10.0, 9.0, 5.0, 4.5, 1.0], 3).unwrap();
        assert_eq!(c.ends, [2, 4, 5]);
        assert_eq!(c.centers, [9.5, 4.75, 1.0]);
        assert!((c.within - 0.625).abs() < 1e-12);
        assert_eq!(c.ranges().collect::<Vec<_>>(), [0..2, 2..4, 4..5]);
    }

    #[test]
    fn equal_values_stay_together() {
        let c = kmeans(&[1.0, 1.0, 1.0, 1.0], 3).unwrap();
        assert_eq!(c.ends, [4]);
        // Two clusters of four would be more even, but would split the ties.
        let c = kmeans(&[2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9], 2).unwrap();
        assert_eq!(c.ends, [1, 8]);
    }

    #[test]
    fn few_values() {
        assert!(kmeans(&[], 3).unwrap().is_empty());
        assert_eq!(kmeans(&[0.5], 3).unwrap().ends, [1]);
        assert_eq!(kmeans(&[0.5, 0.5, 0.1], 9).unwrap().ends, [2, 3]);
    }

    #[test]
    fn equally_good_partitions_are_decided() {
        // {3,2},{1} and {3},{2,1} cost the same: the worst cluster starts early.
        assert_eq!(kmeans(&[3.0, 2.0, 1.0], 2).unwrap().ends, [1, 3]);
    }

    #[test]
    fn refuses_what_is_not_sorted() {
        assert_eq!(kmeans(&[1.0, 2.0], 2), Err(PruneError::Unsorted { index: 1 }));
        assert_eq!(kmeans(&[f64::NAN], 2), Err(PruneError::Unsorted { index: 0 }));
        assert_eq!(kmeans(&[1.0, f64::NAN], 2), Err(PruneError::Unsorted { index: 1 }));
        assert!(kmeans(&[1.0], 0).is_err());
    }

    #[test]
    fn all_counts_from_one_run() {
        let values = [9.0, 8.0, 5.0, 4.0, 1.0];
        let all = Partitions::new(&values, 9).unwrap();
        assert_eq!(all.max_clusters(), 5);
        for count in 1..=5 {
            assert_eq!(all.clusters(count), kmeans(&values, count).unwrap());
            assert_eq!(all.clusters(count).within, all.within(count));
        }
        assert_eq!(all.within(5), 0.0);
    }
}
