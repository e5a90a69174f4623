//! Quality against relevance judgments, as defined by `trec_eval` (which BEIR reports).
//!
//! `ranked` holds the grades of the returned candidates, best rank first, 0 for not relevant and for
//! not judged; any grade above 0 is relevant. Ranks past the end of `ranked` hold nothing relevant.
//! `judged` holds the grades of every judged document of the query, in any order, also of those that
//! were not in the pool. Negative grades, which some judgments use for junk, count as 0.

/// Relevant candidates among the first `k`, divided by `k` (`P_k` of `trec_eval`).
///
/// # Panics
/// When `k` is 0.
pub fn precision_at_k(ranked: &[u32], k: usize) -> f64 {
    assert!(k > 0, "precision at K needs K > 0");
    relevant(&ranked[..k.min(ranked.len())]) as f64 / k as f64
}

/// Relevant candidates among the first `k`, divided by K or by the number of relevant documents,
/// whichever is smaller: the paper's precision@K, BEIR's capped recall. `None` without relevant ones.
pub fn capped_precision_at_k(ranked: &[u32], judged: &[u32], k: usize) -> Option<f64> {
    let possible = relevant(judged).min(k);
    (possible > 0).then(|| relevant(&ranked[..k.min(ranked.len())]) as f64 / possible as f64)
}

/// Relevant candidates among the first `k`, divided by the number of relevant documents (`recall_k`).
/// `None` without relevant ones.
pub fn recall_at_k(ranked: &[u32], judged: &[u32], k: usize) -> Option<f64> {
    let all = relevant(judged);
    (all > 0).then(|| relevant(&ranked[..k.min(ranked.len())]) as f64 / all as f64)
}

/// Normalised discounted cumulative gain of the first `k` (`ndcg_cut_k`): the gain is the grade itself
/// (linear, not `2^grade - 1`), the discount of rank r (from 1) is `log2(r + 1)`, and the ideal is
/// over all judged documents. `None` without relevant ones.
pub fn ndcg_at_k(ranked: &[u32], judged: &[u32], k: usize) -> Option<f64> {
    let mut best = judged.to_vec();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = dcg(&best, k);
    (ideal > 0.0).then(|| dcg(ranked, k) / ideal)
}

/// Reciprocal of the first relevant rank (from 1), 0 when it is past `k`.
pub fn mrr_at_k(ranked: &[u32], k: usize) -> f64 {
    let first = ranked.iter().take(k).position(|&grade| grade > 0);
    first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
}

fn relevant(grades: &[u32]) -> usize {
    grades.iter().filter(|&&grade| grade > 0).count()
}

fn dcg(grades: &[u32], k: usize) -> f64 {
    let discounted = |(rank, &grade): (usize, &u32)| f64::from(grade) / ((rank + 2) as f64).log2();
    grades.iter().take(k).enumerate().map(discounted).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Candidates a to e with grades 3 0 1 0 2, x (2) not retrieved: the same numbers as ranx 0.3.21
    // and pytrec_eval-terrier give for P, recall, ndcg (0.665164..., 0.750756...) and recip_rank.
    const RANKED: [u32; 5] = [3, 0, 1, 0, 2];
    /// One more relevant document (grade 2) was not in the pool.
    const JUDGED: [u32; 6] = [0, 1, 2, 2, 3, 0];

    #[test]
    fn counts_by_hand() {
        assert_eq!(precision_at_k(&RANKED, 3), 2.0 / 3.0);
        assert_eq!(precision_at_k(&RANKED, 10), 0.3);
        assert_eq!(recall_at_k(&RANKED, &JUDGED, 3), Some(0.5));
        assert_eq!(capped_precision_at_k(&RANKED, &JUDGED, 3), Some(2.0 / 3.0));
        assert_eq!(capped_precision_at_k(&RANKED, &JUDGED, 10), Some(0.75));
        assert_eq!(mrr_at_k(&RANKED, 5), 1.0);
        assert_eq!(mrr_at_k(&RANKED[1..], 5), 0.5);
        assert_eq!(mrr_at_k(&RANKED[3..], 1), 0.0);
    }

    #[test]
    fn ndcg_by_hand() {
        // DCG@3 = 3/1 + 1/2; ideal = 3 + 2/log2(3) + 2/2.
        let expected = 3.5 / (4.0 + 2.0 / 3.0_f64.log2());
        assert!((ndcg_at_k(&RANKED, &JUDGED, 3).unwrap() - expected).abs() < 1e-15);
        assert!((ndcg_at_k(&RANKED, &JUDGED, 3).unwrap() - 0.665_164_091_752_884_9).abs() < 1e-15);
        assert!((ndcg_at_k(&RANKED, &JUDGED, 5).unwrap() - 0.750_756_001_456_565).abs() < 1e-15);
        assert_eq!(ndcg_at_k(&[3, 2, 2, 1], &JUDGED, 10), Some(1.0));
        assert_eq!(ndcg_at_k(&[], &JUDGED, 10), Some(0.0));
    }

    #[test]
    fn nothing_relevant_is_not_zero() {
        assert_eq!(ndcg_at_k(&[0, 0], &[0, 0], 10), None);
        assert_eq!(recall_at_k(&[0, 0], &[], 10), None);
        assert_eq!(capped_precision_at_k(&[0], &[0], 10), None);
    }
}
