//! How alike two score lists order the candidates: Kendall's tau-b, Goodman and Kruskal's gamma.

use std::ops::AddAssign;

/// Pairs of candidates by how two score lists order them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PairCounts {
    /// Ordered alike by both.
    pub concordant: u64,
    /// Ordered oppositely.
    pub discordant: u64,
    /// Tied in the first list only.
    pub tied_first: u64,
    /// Tied in the second list only.
    pub tied_second: u64,
    /// Tied in both.
    pub tied_both: u64,
}

impl PairCounts {
    /// Counts the pairs of candidates; `first` and `second` are their scores, without NaN.
    ///
    /// O(n log n): sort by the first list, then count the exchanges that sorting by the second one
    /// needs (W. R. Knight, JASA 61, 1966).
    ///
    /// # Panics
    /// When the lists differ in length or hold NaN.
    pub fn of(first: &[f32], second: &[f32]) -> Self {
        assert_eq!(first.len(), second.len(), "two scores a candidate");
        let order = |a: f32, b: f32| a.partial_cmp(&b).expect("scores are not NaN");
        let mut pairs: Vec<_> = first.iter().copied().zip(second.iter().copied()).collect();
        pairs.sort_unstable_by(|a, b| order(a.0, b.0).then(order(a.1, b.1)));
        let in_first = tied_pairs(&pairs, |a, b| a.0 == b.0);
        let tied_both = tied_pairs(&pairs, |a, b| a == b);
        let mut by_second: Vec<f32> = pairs.iter().map(|pair| pair.1).collect();
        let discordant = sort_counting(&mut by_second);
        let in_second = tied_pairs(&by_second, |a, b| a == b);
        let n = first.len() as u64;
        let all = n * n.saturating_sub(1) / 2;
        Self {
            concordant: all + tied_both - in_first - in_second - discordant,
            discordant,
            tied_first: in_first - tied_both,
            tied_second: in_second - tied_both,
            tied_both,
        }
    }

    /// Kendall's tau-b, from -1 to 1: (C - D) / sqrt((C + D + T1)(C + D + T2)). `None` when all scores
    /// of a list are equal.
    pub fn tau_b(&self) -> Option<f64> {
        let untied = self.concordant + self.discordant;
        let (a, b) = (untied + self.tied_first, untied + self.tied_second);
        (a > 0 && b > 0).then(|| self.net() / ((a as f64).sqrt() * (b as f64).sqrt()))
    }

    /// Goodman and Kruskal's gamma, from -1 to 1: (C - D) / (C + D). `None` when every pair is tied.
    pub fn gamma(&self) -> Option<f64> {
        let untied = self.concordant + self.discordant;
        (untied > 0).then(|| self.net() / untied as f64)
    }

    fn net(&self) -> f64 {
        self.concordant as f64 - self.discordant as f64
    }
}

impl AddAssign for PairCounts {
    fn add_assign(&mut self, other: Self) {
        self.concordant += other.concordant;
        self.discordant += other.discordant;
        self.tied_first += other.tied_first;
        self.tied_second += other.tied_second;
        self.tied_both += other.tied_both;
    }
}

/// Kendall's tau-b of two score lists; see [`PairCounts::tau_b`].
///
/// # Panics
/// As [`PairCounts::of`].
pub fn kendall_tau_b(first: &[f32], second: &[f32]) -> Option<f64> {
    PairCounts::of(first, second).tau_b()
}

/// Goodman and Kruskal's gamma of two score lists; see [`PairCounts::gamma`].
///
/// # Panics
/// As [`PairCounts::of`].
pub fn gamma(first: &[f32], second: &[f32]) -> Option<f64> {
    PairCounts::of(first, second).gamma()
}

/// Gamma over the pairs that lie in different clusters: whether the order between clusters, which is
/// all that pruning relies on, is the other list's order.
///
/// `cluster[i]` is any label of candidate i's cluster.
///
/// # Panics
/// As [`PairCounts::of`], and when there is not one label a candidate.
pub fn cluster_gamma(first: &[f32], second: &[f32], cluster: &[usize]) -> Option<f64> {
    assert_eq!(first.len(), cluster.len(), "one label a candidate");
    let mut members: Vec<usize> = (0..cluster.len()).collect();
    members.sort_by_key(|&i| cluster[i]);
    let mut within = PairCounts::default();
    for group in members.chunk_by(|&a, &b| cluster[a] == cluster[b]) {
        let pick = |scores: &[f32]| group.iter().map(|&i| scores[i]).collect::<Vec<_>>();
        within += PairCounts::of(&pick(first), &pick(second));
    }
    let all = PairCounts::of(first, second);
    let between = PairCounts {
        concordant: all.concordant - within.concordant,
        discordant: all.discordant - within.discordant,
        ..PairCounts::default()
    };
    between.gamma()
}

/// Pairs within the runs of neighbours that are tied.
fn tied_pairs<T>(sorted: &[T], tied: impl FnMut(&T, &T) -> bool) -> u64 {
    let pairs = |run: &[T]| run.len() as u64 * (run.len() as u64 - 1) / 2;
    sorted.chunk_by(tied).map(pairs).sum()
}

/// Sorts ascending by merging; returns the number of pairs that were strictly in the wrong order.
fn sort_counting(values: &mut [f32]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut exchanges = sort_counting(left) + sort_counting(right);
    let (left, right) = (left.to_vec(), right.to_vec());
    let (mut l, mut r) = (0, 0);
    for slot in values {
        if r == right.len() || (l < left.len() && left[l] <= right[r]) {
            *slot = left[l];
            l += 1;
        } else {
            exchanges += (left.len() - l) as u64;
            *slot = right[r];
            r += 1;
        }
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        // Pairs of (1,1) (2,3) (3,2) (3,4): one discordant (2,3)-(3,2), one tied in the first list.
        let counts = PairCounts::of(&[1.0, 2.0, 3.0, 3.0], &[1.0, 3.0, 2.0, 4.0]);
        let expected =
            PairCounts { concordant: 4, discordant: 1, tied_first: 1, ..PairCounts::default() };
        assert_eq!(counts, expected);
        assert_eq!(counts.gamma(), Some(0.6));
        assert!((counts.tau_b().unwrap() - 3.0 / 30.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn tau_b_as_scipy() {
        // scipy.stats.kendalltau 1.17.
        let (a, b) =
            ([3.0, 1.0, 2.0, 2.0, 5.0, 0.0, 4.0, 1.0], [2.0, 1.0, 2.0, 3.0, 4.0, 0.0, 4.0, 0.0]);
        assert!((kendall_tau_b(&a, &b).unwrap() - 0.823_687_767_580_373).abs() < 1e-14);
    }

    #[test]
    fn ties_everywhere() {
        assert_eq!(kendall_tau_b(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(gamma(&[1.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(gamma(&[], &[]), None);
        assert_eq!(PairCounts::of(&[1.0, 1.0], &[2.0, 2.0]).tied_both, 1);
        // -0 and 0 are equal scores.
        assert_eq!(PairCounts::of(&[0.0, -0.0], &[1.0, 2.0]).tied_first, 1);
    }

    #[test]
    fn cluster_gamma_looks_between_clusters() {
        let (first, second) = ([4.0, 3.0, 2.0, 1.0], [3.0, 4.0, 1.0, 2.0]);
        assert_eq!(gamma(&first, &second), Some(2.0 / 6.0));
        assert_eq!(cluster_gamma(&first, &second, &[0, 0, 1, 1]), Some(1.0));
        assert_eq!(cluster_gamma(&first, &second, &[7, 7, 7, 7]), None);
    }

    #[test]
    fn counts_equal_those_of_all_pairs() {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % 6) as f32
        };
        for n in 0..40 {
            let (a, b): (Vec<f32>, Vec<f32>) = (0..n).map(|_| (next(), next())).unzip();
            let mut slow = PairCounts::default();
            for i in 0..n {
                for j in 0..i {
                    let (x, y) = (a[i] - a[j], b[i] - b[j]);
                    slow.concordant += u64::from(x * y > 0.0);
                    slow.discordant += u64::from(x * y < 0.0);
                    slow.tied_first += u64::from(x == 0.0 && y != 0.0);
                    slow.tied_second += u64::from(x != 0.0 && y == 0.0);
                    slow.tied_both += u64::from(x == 0.0 && y == 0.0);
                }
            }
            assert_eq!(PairCounts::of(&a, &b), slow);
        }
    }
}
