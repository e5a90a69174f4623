//! Normal equations by Cholesky's decomposition.

/// A symmetric matrix of sums of products, `[n, n]`; only the lower triangle is kept up.
#[derive(Clone)]
pub(super) struct Gram {
    n: usize,
    values: Vec<f64>,
}

impl Gram {
    pub(super) fn new(n: usize) -> Self {
        Gram { n, values: vec![0.0; n * n] }
    }

    /// Adds `x xᵀ`.
    pub(super) fn add(&mut self, x: &[f64]) {
        for (i, &xi) in x.iter().enumerate() {
            let row = &mut self.values[i * self.n..i * self.n + i + 1];
            row.iter_mut().zip(x).for_each(|(v, &xj)| *v += xi * xj);
        }
    }

    /// Adds `factor` times the other.
    pub(super) fn merge(&mut self, other: &Gram, factor: f64) {
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += factor * b);
    }

    /// Solves `(G + ridge · mean(diag G) · I) w = b`; zeros for a matrix of zeros.
    pub(super) fn solve(&self, ridge: f64, b: &[f64]) -> Vec<f64> {
        let n = self.n;
        let scale = (0..n).map(|i| self.values[i * n + i].max(0.0)).sum::<f64>() / n as f64;
        if scale == 0.0 {
            return vec![0.0; n];
        }
        let factor = self.cholesky(ridge * scale, f64::EPSILON * scale);
        let row = |i: usize| &factor[i * n..i * n + i + 1];
        // L y = b, then Lᵀ w = y.
        let mut w = b.to_vec();
        for i in 0..n {
            let done: f64 = row(i)[..i].iter().zip(&w).map(|(l, y)| l * y).sum();
            w[i] = (w[i] - done) / row(i)[i];
        }
        for i in (0..n).rev() {
            w[i] /= row(i)[i];
            let wi = w[i];
            w[..i].iter_mut().zip(row(i)).for_each(|(v, l)| *v -= l * wi);
        }
        w
    }

    /// The lower factor of the matrix with `added` on its diagonal; pivots are at least `least`, because a difference of
    /// sums may have lost its positive definiteness to rounding.
    fn cholesky(&self, added: f64, least: f64) -> Vec<f64> {
        let n = self.n;
        let mut factor = self.values.clone();
        for i in 0..n {
            let (above, rest) = factor.split_at_mut(i * n);
            let row = &mut rest[..=i];
            for j in 0..i {
                let other = &above[j * n..j * n + j + 1];
                let done: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
                row[j] = (row[j] - done) / other[j];
            }
            let done: f64 = row[..i].iter().map(|v| v * v).sum();
            row[i] = (row[i] + added - done).max(least).sqrt();
        }
        factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_by_hand() {
        let mut gram = Gram::new(2);
        gram.add(&[2.0, 1.0]);
        gram.add(&[0.0, 1.0]);
        // G = [[4, 2], [2, 2]], mean of the diagonal 3; with ridge 1/3 [[5, 2], [2, 3]].
        let w = gram.solve(1.0 / 3.0, &[12.0, 7.0]);
        assert!((w[0] - 2.0).abs() < 1e-12 && (w[1] - 1.0).abs() < 1e-12, "{w:?}");
        assert_eq!(Gram::new(3).solve(0.1, &[1.0, 2.0, 3.0]), [0.0; 3]);
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let mut gram = Gram::new(2);
        gram.add(&[1.0, 2.0]);
        let mut other = Gram::new(2);
        other.add(&[3.0, -1.0]);
        gram.merge(&other, 1.0);
        gram.merge(&other, -1.0);
        let mut alone = Gram::new(2);
        alone.add(&[1.0, 2.0]);
        assert_eq!(gram.solve(0.5, &[1.0, 1.0]), alone.solve(0.5, &[1.0, 1.0]));
    }
}
