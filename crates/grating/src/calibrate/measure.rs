//! What a policy does on queries that had no part in its choice.

use grating_prune::{Mode, Policy, ScoreTrace, calibrate, metrics, replay};

use super::Query;
use super::fit::Case;
use crate::error::Result;
use crate::profile::{Judged, Measured, Quality};

/// Scores as a policy reads them.
#[derive(Clone, Copy)]
pub(super) struct Read<'t> {
    pub(super) trace: &'t ScoreTrace,
    /// For each layer the share of all tokens that entered it; empty where all did.
    pub(super) shares: &'t [f64],
}

impl<'t> Read<'t> {
    /// With all tokens.
    pub(super) fn whole(trace: &'t ScoreTrace) -> Self {
        Read { trace, shares: &[] }
    }
}

/// A policy on queries, whose scores are read as in `traces`, held against the full model's.
pub(super) fn measure(
    policy: &Policy,
    cases: &[Case<'_>],
    traces: &[Read<'_>],
    k: usize,
) -> Result<Measured> {
    let (mut agreement, mut ran, mut all) = (0.0, 0, 0);
    let (mut judged, mut full_quality, mut pruned_quality) =
        (0_u32, Quality::default(), Quality::default());
    for (Case { query, trace: full, .. }, Read { trace, shares }) in cases.iter().zip(traces) {
        let outcome = replay(policy, trace, k)?;
        let full = full.final_ranking();
        agreement += metrics::agreement_at_k(&outcome.selected, &full, k);
        ran += calibrate::candidate_layers(&outcome, policy.mode, shares);
        all += (trace.candidates() * trace.layers()) as u64;
        let mut selected = outcome.selected;
        if policy.mode == Mode::Rank {
            let mut ranks = vec![0; full.len()];
            full.iter().enumerate().for_each(|(rank, &candidate)| ranks[candidate] = rank);
            selected.sort_by_key(|&candidate| ranks[candidate]);
        }
        if let (Some(f), Some(p)) = (quality(query, &full, k), quality(query, &selected, k)) {
            judged += 1;
            add(&mut full_quality, f);
            add(&mut pruned_quality, p);
        }
    }
    let mean = |sum: Quality| Quality {
        precision: sum.precision / f64::from(judged),
        ndcg: sum.ndcg / f64::from(judged),
    };
    Ok(Measured {
        queries: cases.len(),
        agreement: agreement / cases.len() as f64,
        saved: 1.0 - ran as f64 / all as f64,
        judged: (judged > 0).then(|| Judged {
            queries: judged as usize,
            full: mean(full_quality),
            pruned: mean(pruned_quality),
        }),
    })
}

/// Of the candidates in this order; nothing where no judged text is relevant.
fn quality(query: &Query, ranked: &[usize], k: usize) -> Option<Quality> {
    let judgments = query.judgments.as_ref()?;
    let grades: Vec<u32> = ranked.iter().map(|&c| judgments.pool[c]).collect();
    let precision = metrics::capped_precision_at_k(&grades, &judgments.all, k)?;
    let ndcg = metrics::ndcg_at_k(&grades, &judgments.all, k)?;
    Some(Quality { precision, ndcg })
}

fn add(sum: &mut Quality, one: Quality) {
    sum.precision += one.precision;
    sum.ndcg += one.ndcg;
}
