//! The CPU on every instruction set that this machine has.
#![allow(clippy::unwrap_used)] // helpers of tests; the exemption of clippy.toml covers the tests alone

use grating_backend::Precision;
use grating_candle::CandleOps;
use grating_conformance::golden::{cases, load};
use grating_conformance::layers::{Pair, TOLERANCE, check, pairs, trace};
use grating_conformance::operations;
use grating_cpu::{CpuOps, Isa};
use grating_model::Encoding;

/// [`TOLERANCE`] where inputs of bf16 matrices are rounded to bf16.
const ROUNDED: f32 = 1e-1;

/// Ids that all candidates begin with, leaving each at least one of its own.
fn common_prefix(texts: &[Encoding]) -> usize {
    let first = &texts[0].ids;
    let shared = |t: &Encoding| first.iter().zip(&t.ids).take_while(|(a, b)| a == b).count();
    let shortest = texts.iter().map(|t| t.ids.len()).min().unwrap();
    texts.iter().map(shared).min().unwrap().min(shortest - 1)
}

#[test]
fn operations_are_candles_on_every_instruction_set() {
    let reference = CandleOps::cpu();
    for isa in Isa::supported() {
        operations::all(&CpuOps::new(isa, Precision::Full), &reference);
    }
}

#[test]
fn cpu_logits_after_every_layer_are_the_references_on_every_instruction_set() {
    for isa in Isa::supported() {
        check(&CpuOps::new(isa, Precision::Full), |_| TOLERANCE);
    }
}

#[test]
fn exact_precision_stays_near_the_reference() {
    // The goldens are computed in f32 throughout, whatever the checkpoint's type; inputs of bf16 matrices are rounded
    // to 8 bits here, so a logit of these narrow models may move in its third digit.
    for isa in Isa::supported() {
        check(&CpuOps::new(isa, Precision::Exact), |case| match case.contains("bf16") {
            true => ROUNDED,
            false => TOLERANCE,
        });
    }
}

#[test]
fn a_candidate_scores_the_same_to_the_bit_alone_in_company_and_after_a_shared_prefix() {
    for (case, isa) in
        cases().iter().flat_map(|c| Isa::supported().into_iter().map(move |i| (c, i)))
    {
        let ops = CpuOps::new(isa, Precision::Exact);
        let pairs = pairs(case);
        let (loaded, checkpoint) = load(case, Some(pairs[0].max_tokens), false);
        let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
        let together = trace(&ops, &loaded, &checkpoint, &texts, 0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (candidate, text) in texts.iter().enumerate().take(4) {
            let text = std::slice::from_ref(text);
            let alone = pool.install(|| trace(&ops, &loaded, &checkpoint, text, 0));
            for (layer, scores) in alone.iter().enumerate() {
                let score = together[layer].get(candidate);
                assert_eq!(scores.first(), score, "{candidate} after {layer}");
            }
        }
        if loaded.model.can_share_prefix() {
            let prefix = common_prefix(&texts);
            let shared = trace(&ops, &loaded, &checkpoint, &texts, prefix);
            assert_eq!(format!("{shared:?}"), format!("{together:?}"), "prefix of {prefix}");
        }
    }
}
