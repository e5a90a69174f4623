//! How many clusters: a fixed number, a rule, or none but the gaps.

use crate::error::PruneError;
use crate::kmeans1d::{Clusters, Partitions};

/// How live scores are grouped before they are routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ClusterRule {
    /// Exact k-means with this many clusters (fewer when there are fewer distinct scores).
    Fixed(usize),
    /// Exact k-means with the number in `min..=max` whose mean silhouette is the largest
    /// (Rousseeuw 1987); of equals, the smallest number.
    Silhouette {
        /// Fewest clusters to try, at least 2.
        min: usize,
        /// Most clusters to try.
        max: usize,
    },
    /// Every distinct score is a cluster of its own: with a [`Gap`](crate::Gap), a pure margin rule
    /// (who is far enough from the boundary is decided), without one, everything is decided at once.
    Each,
}

impl ClusterRule {
    /// Groups values sorted best first (descending) by this rule.
    ///
    /// # Errors
    /// As [`kmeans`](crate::kmeans).
    pub fn group(self, sorted: &[f64]) -> Result<Clusters, PruneError> {
        match self {
            Self::Fixed(count) => crate::kmeans(sorted, count),
            Self::Each => crate::kmeans1d::singletons(sorted),
            Self::Silhouette { min, max } => {
                let partitions = Partitions::new(sorted, max)?;
                let solved = partitions.max_clusters();
                let mut best = partitions.clusters(min.min(solved));
                let mut best_width = f64::NEG_INFINITY;
                for count in min.max(2)..=solved {
                    let clusters = partitions.clusters(count);
                    let width = silhouette(sorted, &clusters);
                    // Rounding must not prefer more clusters.
                    if width > best_width + 1e-12 {
                        (best, best_width) = (clusters, width);
                    }
                }
                Ok(best)
            }
        }
    }

    pub(crate) fn validate(self) -> Result<(), PruneError> {
        let (found, expected) = match self {
            Self::Fixed(0) => ("0".to_owned(), "at least 1"),
            Self::Silhouette { min, max } if min < 2 || max < min => {
                (format!("{min} to {max}"), "a range from at least 2 upwards")
            }
            _ => return Ok(()),
        };
        Err(PruneError::InvalidPolicy { setting: "clusters", found, expected })
    }
}

/// Mean silhouette width of values sorted descending, from -1 to 1; 0 for fewer than two clusters.
///
/// For value i with mean distance `a` to the rest of its cluster and least mean distance `b` to
/// another cluster, `(b - a) / max(a, b)`; 0 for a cluster of one (Rousseeuw 1987). In one dimension
/// the nearest other cluster is a neighbour, and its mean distance is that to its mean, so the whole is
/// O(n).
pub fn silhouette(sorted: &[f64], clusters: &Clusters) -> f64 {
    if clusters.len() < 2 {
        return 0.0;
    }
    let mut total = 0.0;
    for (c, range) in clusters.ranges().enumerate() {
        if range.len() < 2 {
            continue;
        }
        let values = &sorted[range];
        let others = (values.len() - 1) as f64;
        // Sum of distances to the values before and after, kept while walking down.
        let mut distance: f64 = values.iter().map(|v| values[0] - v).sum();
        for (i, &v) in values.iter().enumerate() {
            if i > 0 {
                let step = values[i - 1] - v;
                distance += step * (i as f64 - (values.len() - i) as f64);
            }
            let a = distance / others;
            let above = c.checked_sub(1).map(|c| clusters.centers[c] - v);
            let below = clusters.centers.get(c + 1).map(|center| v - center);
            let b = above.unwrap_or(f64::INFINITY).min(below.unwrap_or(f64::INFINITY));
            total += (b - a) / a.max(b);
        }
    }
    total / sorted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silhouette_by_hand() {
        // 0.661274..., also by scikit-learn 1.9's silhouette_score. 10: a 1, b 5.25; 9: a 1, b 4.25; 5: a .5, b 4 (both ways 4.5 and 4); 4.5: a .5, b 3.5; 1: alone.
        let values = [10.0, 9.0, 5.0, 4.5, 1.0];
        let clusters = crate::kmeans(&values, 3).unwrap();
        let expected = (4.25 / 5.25 + 3.25 / 4.25 + 3.5 / 4.0 + 3.0 / 3.5) / 5.0;
        assert!((silhouette(&values, &clusters) - expected).abs() < 1e-12);
    }

    #[test]
    fn silhouette_chooses_the_visible_number() {
        let rule = ClusterRule::Silhouette { min: 2, max: 5 };
        assert_eq!(rule.group(&[9.1, 9.0, 8.9, 5.1, 5.0, 4.9, 1.1, 1.0, 0.9]).unwrap().len(), 3);
        assert_eq!(rule.group(&[9.1, 9.0, 8.9, 1.1, 1.0, 0.9]).unwrap().len(), 2);
        assert_eq!(rule.group(&[1.0, 1.0]).unwrap().len(), 1);
        assert_eq!(rule.group(&[2.0, 1.0]).unwrap().len(), 2);
    }

    #[test]
    fn each_distinct_value() {
        let clusters = ClusterRule::Each.group(&[3.0, 2.0, 2.0, 1.0]).unwrap();
        assert_eq!(clusters.ends, [1, 3, 4]);
        assert_eq!(clusters.centers, [3.0, 2.0, 1.0]);
        assert_eq!(clusters.within, 0.0);
    }
}
