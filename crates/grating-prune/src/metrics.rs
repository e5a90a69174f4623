//! Metrics: agreement with the full model, quality against relevance judgments, order of scores.
//!
//! All are pure functions of one query; average them over queries. Where a metric is not defined (no
//! relevant document, no pair to compare) the answer is `None`, not 0, so that an average cannot hide
//! it.

mod judged;
mod order;

pub use judged::{capped_precision_at_k, mrr_at_k, ndcg_at_k, precision_at_k, recall_at_k};
pub use order::{PairCounts, cluster_gamma, gamma, kendall_tau_b};

/// Share of the reference's top-K that is selected, from 0 to 1.
///
/// `selected` and `reference` are candidates; only the first `k` of each count, and their order among
/// those does not. The divisor is min(K, length of `reference`), so a full agreement is 1 also for
/// pools smaller than K. Agreement with the full model is the case where `reference` is its ranking.
///
/// # Panics
/// When `k` is 0 or `reference` is empty.
pub fn agreement_at_k(selected: &[usize], reference: &[usize], k: usize) -> f64 {
    let top = &reference[..k.min(reference.len())];
    assert!(!top.is_empty(), "overlap at K needs K > 0 and a reference");
    let mut selected = selected[..k.min(selected.len())].to_vec();
    selected.sort_unstable();
    let common = top.iter().filter(|c| selected.binary_search(c).is_ok()).count();
    common as f64 / top.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_by_hand() {
        assert_eq!(agreement_at_k(&[3, 1, 2], &[1, 2, 9, 3], 3), 2.0 / 3.0);
        assert_eq!(agreement_at_k(&[3, 1, 2], &[1, 2, 9, 3], 2), 0.5);
        assert_eq!(agreement_at_k(&[1, 0], &[0, 1], 10), 1.0);
        assert_eq!(agreement_at_k(&[], &[0, 1], 2), 0.0);
    }
}
