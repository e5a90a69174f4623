//! How good a selection is: against the full model's, and against judgments.

use grating_prune::metrics::{agreement_at_k, capped_precision_at_k, mrr_at_k, ndcg_at_k};

use crate::bench::Bench;
use crate::bench::data::Query;
use crate::bench::model::Model;
use crate::bench::stats::mean;
use crate::bench::workload::{Workload, made};

/// A workload with what is known of its texts.
pub(super) struct Judged<'a> {
    pub(super) work: Workload,
    query: Option<&'a Query>,
}

/// The queries of the tables that measure quality: from every data set, or made ones for planted
/// models and where there is no data.
pub(super) fn workloads<'a>(
    bench: &'a Bench,
    model: &Model,
    pool: usize,
) -> Vec<(String, Vec<Judged<'a>>)> {
    let count = bench.args.queries();
    if model.planted.is_some() || bench.data.is_empty() {
        let seeds = (0..count as u64).map(|i| bench.args.seed + i);
        let work = seeds.map(|seed| made(model, pool, bench.args.tokens(), seed));
        return vec![("made".into(), work.map(|work| Judged { work, query: None }).collect())];
    }
    let set = |set: &'a crate::bench::data::DataSet| {
        let judged = set
            .sample(count)
            .into_iter()
            .map(|query| Judged { work: query.workload(&set.name, pool), query: Some(query) });
        (set.name.clone(), judged.collect())
    };
    bench.data.iter().map(set).collect()
}

/// Figures of one selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quality {
    /// Share of the full model's top-K that was selected.
    pub(super) agreement: f64,
    pub(super) precision: Option<f64>,
    pub(super) ndcg: Option<f64>,
    pub(super) mrr: Option<f64>,
}

impl Judged<'_> {
    /// Judges `selected` (best first) for top-`k` beside the full model's order.
    pub(super) fn quality(&self, selected: &[usize], full: &[usize], k: usize) -> Quality {
        let agreement = agreement_at_k(selected, full, k);
        let Some(query) = self.query else {
            return Quality { agreement, precision: None, ndcg: None, mrr: None };
        };
        let ranked: Vec<u32> = selected.iter().map(|&candidate| query.grades[candidate]).collect();
        Quality {
            agreement,
            precision: capped_precision_at_k(&ranked, &query.judged, k),
            ndcg: ndcg_at_k(&ranked, &query.judged, k),
            mrr: Some(mrr_at_k(&ranked, k)),
        }
    }
}

/// Mean of a figure over queries, those left out for which it is not defined.
pub(super) fn mean_of(
    qualities: &[Quality],
    figure: impl Fn(&Quality) -> Option<f64>,
) -> Option<f64> {
    mean(qualities.iter().filter_map(figure))
}

#[cfg(test)]
impl Judged<'static> {
    /// Texts that nobody has judged.
    pub(super) fn of_made(texts: Vec<String>) -> Self {
        let work = Workload { query: "q".into(), texts, name: "made".into() };
        Judged { work, query: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that `pytrec_eval` and `ranx` give for this run and these judgments.
    #[test]
    fn figures_of_a_selection_by_hand() {
        let query = Query {
            id: "q".into(),
            text: "q".into(),
            pool: vec![String::new(); 5],
            grades: vec![3, 0, 1, 0, 2],
            judged: vec![3, 0, 1, 0, 2, 2],
        };
        let judged = Judged { work: query.workload("set", 5), query: Some(&query) };
        let found = judged.quality(&[0, 1, 2, 3, 4], &[0, 2, 4, 1, 3], 3);
        assert_eq!(found.agreement, 2.0 / 3.0);
        assert_eq!(found.precision, Some(2.0 / 3.0));
        assert!((found.ndcg.unwrap() - 0.665_164_091_752_884_9).abs() < 1e-12);
        assert_eq!(found.mrr, Some(1.0));
        let late = judged.quality(&[1, 3, 4], &[0, 2, 4], 3);
        assert_eq!((late.mrr, late.agreement), (Some(1.0 / 3.0), 1.0 / 3.0));
        let unjudged = Judged { query: None, ..judged };
        assert_eq!(unjudged.quality(&[0], &[0], 1).precision, None);
    }
}
