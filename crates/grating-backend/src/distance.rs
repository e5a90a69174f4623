//! Distances between tokens as rows of a table.

/// Which row of a table is that of a distance: near ones have a row each, far ones share rows as their logarithm goes
/// (`make_log_bucket_position` of DeBERTa-v2 in transformers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distances {
    /// Rows to either side of that of distance 0, which is row `span`; there are twice as many.
    pub span: usize,
    /// The first half of the span is for single distances, the rest for those up to here. None: each distance has a row of
    /// its own. What is further than the last row takes the last row.
    pub farthest: Option<usize>,
}

impl Distances {
    /// Each distance below `span` has a row of its own.
    pub fn single(span: usize) -> Self {
        Distances { span, farthest: None }
    }

    /// Distances of up to half the span have rows of their own, those up to `farthest` share the others.
    pub fn logarithmic(span: usize, farthest: usize) -> Self {
        Distances { span, farthest: Some(farthest) }
    }

    /// Rows of the table.
    pub fn rows(self) -> usize {
        2 * self.span
    }

    /// The row of the distance from a key to a query: of the query's place less the key's. It does not fall as the
    /// distance grows.
    ///
    /// ```
    /// use grating_backend::Distances;
    ///
    /// let distances = Distances::logarithmic(8, 32);
    /// assert_eq!([-40, -9, -1, 0, 4, 5, 31, 99].map(|d| distances.row(d)), [0, 2, 7, 8, 12, 13, 15, 15]);
    /// ```
    pub fn row(self, distance: isize) -> usize {
        let place = match self.farthest {
            Some(farthest) => bucket(distance, self.span / 2, farthest),
            None => distance,
        };
        (place + self.span as isize).clamp(0, self.rows() as isize - 1) as usize
    }
}

/// In f32 and in its order of operations, as the reference rounds.
fn bucket(distance: isize, near: usize, farthest: usize) -> isize {
    let far = distance.unsigned_abs();
    if far <= near {
        return distance;
    }
    let logarithm = |distance: usize| (distance as f32 / near as f32).ln();
    let share = logarithm(far) / logarithm(farthest - 1) * (near - 1) as f32;
    distance.signum() * (share.ceil() as isize + near as isize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_fall_and_are_the_same_on_both_sides() {
        for distances in
            [Distances::logarithmic(256, 512), Distances::logarithmic(12, 40), Distances::single(7)]
        {
            let rows: Vec<usize> = (-1000..=1000).map(|d| distances.row(d)).collect();
            assert!(rows.is_sorted());
            assert_eq!((rows[0], rows[2000]), (0, distances.rows() - 1));
            for d in 0..=1000 {
                let (after, before) = (distances.row(d), distances.row(-d));
                assert_eq!(
                    (after - distances.span).min(distances.span - 1),
                    (distances.span - before).min(distances.span - 1)
                );
            }
        }
    }
}
